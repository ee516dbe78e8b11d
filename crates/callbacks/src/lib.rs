//! Lifecycle callbacks: CloudEvents over HTTP, signed as Standard Webhooks.
