//! Pure. Mail addresses of terminals.

use model::directory::Destination;

/// Octets of an address (RFC 5321 §4.5.3.1.3, without its brackets).
const ADDRESS_OCTETS_MAX: usize = 254;

/// Why an address is nobody's here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRecipient {
    /// Not an address at all.
    Malformed,
    /// Of another domain: nothing is relayed.
    OtherDomain,
    /// Of ours, but no name and no number.
    Nobody,
}

/// Whether an address is the postmaster's, which every mail server takes mail for (RFC 5321 §4.5.1): without a domain, or of ours.
/// The parser makes an empty one of `<postmaster>`, and of `<>`, which is no recipient and gets the same.
pub(super) fn is_postmaster(address: &str, domains: &[String]) -> bool {
    let (local, domain) = address
        .rsplit_once('@')
        .map_or((address, None), |(local, domain)| (local, Some(domain)));
    let is_ours =
        domain.is_none_or(|domain| domains.iter().any(|own| own.eq_ignore_ascii_case(domain)));
    is_ours && (address.is_empty() || local.eq_ignore_ascii_case("postmaster"))
}

/// The terminal that an address means: `owner@DOMAIN` by name, `301@DOMAIN` and `+8131234567@DOMAIN` by number.
pub(super) fn destination(address: &str, domains: &[String]) -> Result<Destination, NoRecipient> {
    let (local, domain) = address.rsplit_once('@').ok_or(NoRecipient::Malformed)?;
    if local.is_empty() || domain.is_empty() || address.len() > ADDRESS_OCTETS_MAX {
        return Err(NoRecipient::Malformed);
    }
    if !domains.iter().any(|own| own.eq_ignore_ascii_case(domain)) {
        return Err(NoRecipient::OtherDomain);
    }
    if local
        .trim_start_matches('+')
        .bytes()
        .all(|octet| octet.is_ascii_digit())
    {
        return local
            .parse()
            .map(Destination::Number)
            .map_err(|_| NoRecipient::Nobody);
    }
    local
        .to_ascii_lowercase()
        .parse()
        .map(Destination::Name)
        .map_err(|_| NoRecipient::Nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_postmaster_is_one_with_or_without_our_domain() {
        let domains = ["mail.example".to_owned()];
        for address in [
            "",
            "postmaster",
            "Postmaster",
            "POSTMASTER@mail.example",
            "postmaster@MAIL.example",
        ] {
            assert!(is_postmaster(address, &domains), "{address}");
        }
        for address in [
            "postmaster@other.example",
            "postmaster@",
            "xpostmaster",
            "@mail.example",
        ] {
            assert!(!is_postmaster(address, &domains), "{address}");
        }
    }

    #[test]
    fn an_address_means_a_terminal_by_name_or_number_and_never_another_domain() {
        let domains = ["mail.example".to_owned(), "m.example".to_owned()];
        let find = |address: &str| destination(address, &domains).map(|found| found.to_string());
        assert_eq!(find("owner@mail.example").as_deref(), Ok("terminal:owner"));
        assert_eq!(find("Owner@MAIL.example").as_deref(), Ok("terminal:owner"));
        assert_eq!(find("301@m.example").as_deref(), Ok("tel:301"));
        assert_eq!(
            find("+8131234567@m.example").as_deref(),
            Ok("tel:+8131234567")
        );
        for (address, why) in [
            ("owner", NoRecipient::Malformed),
            ("@mail.example", NoRecipient::Malformed),
            ("owner@", NoRecipient::Malformed),
            ("owner@other.example", NoRecipient::OtherDomain),
            ("owner@sub.mail.example", NoRecipient::OtherDomain),
            ("owner%other.example@mail.example", NoRecipient::Nobody),
            ("a@b@other.example", NoRecipient::OtherDomain),
            ("../x@mail.example", NoRecipient::Nobody),
            ("++1@mail.example", NoRecipient::Nobody),
        ] {
            assert_eq!(find(address), Err(why), "{address}");
        }
        assert_eq!(
            find(&format!("{}@mail.example", "a".repeat(260))),
            Err(NoRecipient::Malformed)
        );
    }
}
