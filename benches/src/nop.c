/* The least that a command can be. */
int main(void)
{
	return 0;
}
