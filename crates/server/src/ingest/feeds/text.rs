//! Pure. A feed's octets as text, in whichever charset they are.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// How far into a feed its XML declaration may reach.
const DECLARATION_OCTETS_MAX: usize = 256;

/// Octets with which gzip begins (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The text of a feed. What names its charset counts in this order (RFC 7303 §3): a byte order mark, the Content-Type, the XML
/// declaration; else it is UTF-8. An octet that is wrong in its charset becomes U+FFFD.
///
/// # Errors
/// It is compressed.
pub(super) fn decode<'a>(
    octets: &'a [u8],
    content_type: Option<&str>,
) -> Result<Cow<'a, str>, &'static str> {
    if octets.starts_with(&GZIP) {
        return Err("it came compressed with gzip, which was not asked for");
    }
    let (encoding, mark_octets) = Encoding::for_bom(octets).unwrap_or_else(|| {
        let named = content_type.and_then(charset).or_else(|| declared(octets));
        (named.or_else(|| utf_16(octets)).unwrap_or(UTF_8), 0)
    });
    let (text, _) =
        encoding.decode_without_bom_handling(octets.get(mark_octets..).unwrap_or_default());
    Ok(text)
}

/// The parameter `charset` of a media type.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    let parameters = content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='));
    let mut named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    Encoding::for_label(named.next()?.1.trim().trim_matches(['"', '\'']).as_bytes())
}

/// What the XML declaration names. One that can be read octet by octet is not in UTF-16, whatever it says.
fn declared(octets: &[u8]) -> Option<&'static Encoding> {
    let head = octets.get(..DECLARATION_OCTETS_MAX).unwrap_or(octets);
    let head: String = head
        .iter()
        .map(|octet| {
            if octet.is_ascii() {
                char::from(*octet)
            } else {
                ' '
            }
        })
        .collect();
    let declaration = head.split_once("<?xml")?.1.split_once("?>")?.0;
    let value = declaration
        .split_once("encoding")?
        .1
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    let quote = value
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    let encoding = Encoding::for_label(value.get(1..)?.split(quote).next()?.as_bytes())?;
    Some(if encoding == UTF_16BE || encoding == UTF_16LE {
        UTF_8
    } else {
        encoding
    })
}

/// UTF-16 without a mark shows by the zeros about the first `<` or `{`.
fn utf_16(octets: &[u8]) -> Option<&'static Encoding> {
    match octets {
        [0, b'<' | b'{', ..] => Some(UTF_16BE),
        [b'<' | b'{', 0, ..] => Some(UTF_16LE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_goes_before_the_content_type_and_that_before_the_declaration() {
        let latin = b"<?xml version=\"1.0\" encoding='windows-1251'?><a>M\xfcller</a>";
        assert!(decode(latin, None).unwrap().contains("Mьller"));
        assert!(
            decode(latin, Some("text/xml; x=\"y\"; Charset=\"ISO-8859-1\""))
                .unwrap()
                .contains("Müller")
        );
        let marked = b"\xef\xbb\xbf<a>M\xc3\xbcller</a>";
        assert_eq!(
            decode(marked, Some("text/xml; charset=iso-8859-1")).unwrap(),
            "<a>Müller</a>"
        );
    }

    #[test]
    fn utf_16_is_read_with_and_without_a_mark_and_not_where_it_is_only_said() {
        let wide: Vec<u8> = "<a>ü</a>"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(decode(&wide, None).unwrap(), "<a>ü</a>");
        let marked = [&[0xff, 0xfe], wide.as_slice()].concat();
        assert_eq!(decode(&marked, None).unwrap(), "<a>ü</a>");
        assert!(
            decode("<?xml encoding=\"utf-16\"?><a>ü</a>".as_bytes(), None)
                .unwrap()
                .ends_with("<a>ü</a>")
        );
    }

    #[test]
    fn a_wrong_octet_costs_one_character_and_an_unknown_charset_nothing() {
        assert_eq!(
            decode(b"<a>M\xfcller</a>", None).unwrap(),
            "<a>M\u{fffd}ller</a>"
        );
        assert_eq!(
            decode("<a>ü</a>".as_bytes(), Some("text/xml; charset=klingon")).unwrap(),
            "<a>ü</a>"
        );
    }

    #[test]
    fn what_is_compressed_is_refused_with_the_reason() {
        assert!(
            decode(&[0x1f, 0x8b, 8, 0], None)
                .unwrap_err()
                .contains("gzip")
        );
        assert_eq!(decode(b"", None).unwrap(), "");
    }
}
