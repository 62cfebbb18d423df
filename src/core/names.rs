//! What Kubernetes takes for a name (RFC 1123 labels and subdomains).

/// What a namespace or a container may be called.
pub fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_label_of_any_length(name)
}

/// What a pod may be called.
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label_of_any_length)
}

fn is_label_of_any_length(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().all(|byte| edge(&byte) || byte == b'-')
        && name.as_bytes().first().is_some_and(edge)
        && name.as_bytes().last().is_some_and(edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinguished_from_what_is_none() {
        for good in ["a", "default", "web-7c9d8f6b54-x2x9k", "0"] {
            assert!(is_dns_label(good) && is_dns_subdomain(good), "{good}");
        }
        assert!(is_dns_subdomain(&"a".repeat(80)) && !is_dns_label(&"a".repeat(64)));
        assert!(is_dns_subdomain("web.example") && !is_dns_label("web.example"));
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "a b", "ü", "a..b", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
    }
}
