//! Domain and host names, in the one form in which they are compared: lower case, without a trailing dot.

/// Longest name, in characters without the trailing dot (RFC 1035, section 2.3.4: 255 octets on the wire).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Normalizes a domain name; the root is `.`. Labels have letters, digits, `-` and `_`.
pub(crate) fn domain_name(text: &str) -> Result<String, String> {
    if text == "." {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has at most {NAME_BYTES_MAX} characters"));
    }
    match name.split('.').find_map(label_fault) {
        Some(fault) => Err(fault),
        None => Ok(name),
    }
}

/// The absolute name of `name` in `zone` (normalized): relative, `@`, or absolute with a trailing dot.
pub(crate) fn name_in_zone(name: &str, zone: &str) -> Result<String, String> {
    if name == "@" {
        return Ok(zone.to_owned());
    }
    if !name.ends_with('.') {
        let absolute = if zone == "." { name.to_owned() } else { format!("{name}.{zone}") };
        return domain_name(&absolute);
    }
    let absolute = domain_name(name)?;
    if !is_inside(&absolute, zone) {
        return Err(format!("`{name}` is outside the zone"));
    }
    Ok(absolute)
}

/// Whether a normalized name is a zone's own or below it.
pub(crate) fn is_inside(name: &str, zone: &str) -> bool {
    zone == "." || name.strip_suffix(zone).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn label_fault(label: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if label.is_empty() {
        Some("a label of the name is empty".to_owned())
    } else if label.len() > LABEL_BYTES_MAX {
        Some(format!("a label of the name has more than {LABEL_BYTES_MAX} characters"))
    } else if !label.bytes().all(is_plain) {
        Some(format!("`{label}` has other characters than letters, digits, `-` and `_`"))
    } else if label.starts_with('-') || label.ends_with('-') {
        Some(format!("`{label}` begins or ends with `-`"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        assert_eq!(domain_name("App.Example.COM."), Ok("app.example.com".to_owned()));
        assert_eq!(domain_name("_dmarc.example.com"), Ok("_dmarc.example.com".to_owned()));
        assert_eq!(domain_name("."), Ok(".".to_owned()));
    }

    #[test]
    fn the_longest_names_are_accepted_and_longer_ones_refused() {
        let label = "a".repeat(63);
        assert!(domain_name(&label).is_ok());
        assert!(domain_name(&format!("{label}a")).is_err());
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(domain_name(&longest).is_ok());
        assert!(domain_name(&format!("{longest}a")).is_err());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "..", "a..b", ".a", "-a", "a-", "a b", "*.a", "é.example"] {
            assert!(domain_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_relative_unless_they_end_with_a_dot() {
        assert_eq!(name_in_zone("app", "example.com"), Ok("app.example.com".to_owned()));
        assert_eq!(name_in_zone("@", "example.com"), Ok("example.com".to_owned()));
        assert_eq!(name_in_zone("App.Example.com.", "example.com"), Ok("app.example.com".to_owned()));
        assert_eq!(
            name_in_zone("app.example.com", "example.com"),
            Ok("app.example.com.example.com".to_owned())
        );
        assert_eq!(name_in_zone("app", "."), Ok("app".to_owned()));
        assert!(name_in_zone("app.example.org.", "example.com").is_err());
        assert!(name_in_zone("notexample.com.", "example.com").is_err());
    }
}
