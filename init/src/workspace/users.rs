//! Whom a service runs as, by /etc/passwd and /etc/group: a static program has no other way to know.

use baton_pid1::User;

/// A user, and what of it goes into the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its numbers.
    pub user: User,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its home folder, where it has one.
    pub home: Option<String>,
}

/// Why a user cannot be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("/etc/passwd has no user `{0}`")]
    User(String),
    /// No such group.
    #[error("/etc/group has no group `{0}`")]
    Group(String),
}

/// Finds `NAME`, `UID`, or either with `:GROUP`, a name or a number.
///
/// # Errors
/// Where a name is in neither file. A number needs no entry.
pub fn find(wanted: &str, passwd: &str, group: &str) -> Result<Account, UserError> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| {
            fields.len() >= 6
                && (fields.first() == Some(&user)
                    || (fields.get(2) == Some(&user) && user.parse::<u32>().is_ok()))
        });
    let field = |at: usize| entry.as_ref()?.get(at).copied();
    let uid = field(2).unwrap_or(user).parse();
    let uid = uid.map_err(|_| UserError::User(user.to_owned()))?;
    let name = field(0).map(str::to_owned);
    let groups = || {
        group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
    };
    let gid = match wanted_group {
        Some(wanted) => match wanted.parse() {
            Ok(gid) => gid,
            Err(_) => groups()
                .find(|fields| fields.first() == Some(&wanted))
                .and_then(|fields| fields.get(2)?.parse().ok())
                .ok_or_else(|| UserError::Group(wanted.to_owned()))?,
        },
        None => field(3).and_then(|gid| gid.parse().ok()).unwrap_or(uid),
    };
    let is_member = |fields: &Vec<&str>| {
        let members = fields.get(3).copied().unwrap_or_default();
        name.as_deref()
            .is_some_and(|name| members.split(',').any(|member| member == name))
    };
    let mut others: Vec<u32> = groups()
        .filter(is_member)
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect();
    if !others.contains(&gid) {
        others.push(gid);
    }
    Ok(Account {
        user: User {
            uid,
            gid,
            groups: others,
        },
        home: field(5).filter(|home| !home.is_empty()).map(str::to_owned),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\ncoder:x:1000:1001:Coder,,,:/home/coder:/bin/bash\n";
    const GROUP: &str = "root:x:0:\ncoder:x:1001:\ndocker:x:998:other,coder\nadm:x:4:coderx\n";

    #[test]
    fn names_and_numbers_are_found() {
        let coder = find("coder", PASSWD, GROUP).unwrap();
        assert_eq!(
            (coder.user.uid, coder.user.gid, &coder.user.groups[..]),
            (1000, 1001, &[998, 1001][..])
        );
        assert_eq!(coder.home.as_deref(), Some("/home/coder"));
        assert_eq!(find("1000", PASSWD, GROUP).unwrap(), coder);
        assert_eq!(find("coder:docker", PASSWD, GROUP).unwrap().user.gid, 998);
        let stranger = find("4711:12", PASSWD, GROUP).unwrap();
        assert_eq!((stranger.user.uid, stranger.user.gid), (4711, 12));
        assert_eq!(stranger.home, None);
        assert_eq!(find("4711", PASSWD, GROUP).unwrap().user.gid, 4711);
        assert_eq!(
            find("codr", PASSWD, GROUP),
            Err(UserError::User("codr".into()))
        );
        assert_eq!(
            find("coder:x", PASSWD, GROUP),
            Err(UserError::Group("x".into()))
        );
    }
}
