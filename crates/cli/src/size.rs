//! Sizes as people write them.

/// Octets: `5000`, `50k`, `2M`, `1G`, in steps of a thousand.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let octets = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    octets
        .filter(|octets| *octets > 0)
        .ok_or_else(|| "give octets, such as 5000, 50k or 2M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_a_thousand() {
        for (text, octets) in [
            ("5000", 5000),
            ("50k", 50_000),
            ("2M", 2_000_000),
            ("1G", 1_000_000_000),
        ] {
            assert_eq!(size(text), Ok(octets), "{text}");
        }
        for text in [
            "",
            "k",
            "0",
            "-1",
            "1.5k",
            "5 k",
            "99999999999999999999",
            "99999999999G",
            "5ö",
        ] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
