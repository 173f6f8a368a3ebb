//! What is said of a message in its request's fields, and how a terminal reads it.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Builder;
use http::{HeaderMap, Method, Request};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::encoding::ZSTD;
use crate::message::{Arrival, ContentType, Digest, Manner, Parcel, Urgency};
use crate::topic::Topic;
use crate::{
    CONTENT_DIGEST, DIGEST_ABOVE, EXPIRES, LAST, TOPIC, UPLOAD_COMPLETE, UPLOAD_LENGTH,
    UPLOAD_OFFSET, URGENCY,
};

/// What cannot stand in a field as it is; nor can what is not ASCII.
pub(crate) const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// The request that brings a message from `offset` on.
pub(crate) fn of_parcel(parcel: &Parcel, offset: u64, is_last: bool) -> Builder {
    let (head, manner) = (parcel.head(), parcel.manner());
    let size = parcel.octets().size();
    let method = if offset == 0 {
        Method::PUT
    } else {
        Method::PATCH
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://terminal/m/{}", head.id))
        .header(CONTENT_LENGTH, size - offset);
    if head.content_type != ContentType::octets() {
        request = request.header(CONTENT_TYPE, head.content_type.as_str());
    }
    if parcel.is_packed() {
        request = request.header(CONTENT_ENCODING, ZSTD);
    }
    if offset > 0 {
        request = request
            .header(UPLOAD_OFFSET, offset)
            .header(UPLOAD_LENGTH, size)
            .header(UPLOAD_COMPLETE, "?1");
    }
    if size > DIGEST_ABOVE {
        request = request.header(CONTENT_DIGEST, parcel.digest().to_header());
    }
    if let Some(topic) = &manner.topic {
        request = request.header(
            TOPIC,
            utf8_percent_encode(&topic.to_string(), ESCAPED).to_string(),
        );
    }
    if manner.urgency != Urgency::default() {
        request = request.header(URGENCY, manner.urgency.as_str());
    }
    if let Some(at) = manner.expires_at {
        // Not before its time: whole seconds, rounded up.
        let at = at
            .round(
                TimestampRound::new()
                    .smallest(Unit::Second)
                    .mode(RoundMode::Ceil),
            )
            .unwrap_or(at);
        request = request.header(EXPIRES, format!("@{}", at.as_second()));
    }
    if is_last {
        request = request.header(LAST, "1");
    }
    request
}

/// Reads what [`of_parcel`] writes. The error names the field.
pub(crate) fn read_arrival(
    id: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Arrival, &'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let here = number(CONTENT_LENGTH.as_str()).ok_or("content-length is missing or malformed")?;
    let (offset, size) = if method == Method::PATCH {
        let offset = number(UPLOAD_OFFSET).ok_or("upload-offset is missing or malformed")?;
        let size = number(UPLOAD_LENGTH).ok_or("upload-length is missing or malformed")?;
        if text(UPLOAD_COMPLETE) != Some("?1") || offset.checked_add(here) != Some(size) {
            return Err("upload-offset and content-length do not come to upload-length");
        }
        (offset, size)
    } else {
        (0, here)
    };
    Ok(Arrival {
        id: id
            .parse()
            .map_err(|_| "the path must end with a message id of 22 characters")?,
        content_type: match text(CONTENT_TYPE.as_str()) {
            Some(value) => value
                .parse()
                .map_err(|_| "content-type is not a media type")?,
            None => ContentType::octets(),
        },
        manner: read_manner(headers)?,
        digest: match text(CONTENT_DIGEST) {
            None if size <= DIGEST_ABOVE => None,
            given => Some(
                given
                    .and_then(|value| Digest::from_header(value).ok())
                    .ok_or("content-digest: sha-256=:BASE64: is missing or malformed")?,
            ),
        },
        size,
        offset,
        is_packed: headers.contains_key(CONTENT_ENCODING),
    })
}

/// Whether the content is packed in a way that this terminal knows, or not at all.
pub(crate) fn is_encoding_known(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let is_zstd = encodings
        .next()
        .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(ZSTD.as_bytes()));
    is_zstd && encodings.next().is_none()
}

fn read_manner(headers: &HeaderMap) -> Result<Manner, &'static str> {
    const TOPIC_FAULT: &str = "topic is malformed";
    const URGENCY_FAULT: &str = "urgency is not urgent, normal or bulk";
    const EXPIRES_FAULT: &str = "expires is not @ and seconds since 1970";
    let text = |name: &str, fault: &'static str| match headers.get(name) {
        Some(value) => value.to_str().map(Some).map_err(|_| fault),
        None => Ok(None),
    };
    let topic = |text: &str| {
        let text = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| TOPIC_FAULT)?;
        text.parse::<Topic>().map_err(|_| TOPIC_FAULT)
    };
    let expires_at = |text: &str| {
        let seconds = text
            .strip_prefix('@')
            .and_then(|seconds| seconds.parse().ok())
            .ok_or(EXPIRES_FAULT)?;
        Timestamp::from_second(seconds).map_err(|_| EXPIRES_FAULT)
    };
    Ok(Manner {
        urgency: match text(URGENCY, URGENCY_FAULT)? {
            Some(word) => word.parse().map_err(|_| URGENCY_FAULT)?,
            None => Urgency::default(),
        },
        topic: text(TOPIC, TOPIC_FAULT)?.map(topic).transpose()?,
        expires_at: text(EXPIRES, EXPIRES_FAULT)?.map(expires_at).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::{MessageHead, MessageId};

    fn parcel(manner: Manner, content: &'static [u8]) -> Parcel {
        let (id, digest, size) = (MessageId::now(), Digest::of(content), content.len() as u64);
        let head = MessageHead {
            id,
            content_type: ContentType::octets(),
            digest,
            size,
        };
        Parcel::new(head, manner, Bytes::from_static(content))
    }

    fn read_back(parcel: &Parcel, offset: u64) -> Arrival {
        let request = of_parcel(parcel, offset, false).body(()).unwrap();
        read_arrival(
            &request.uri().path()[3..],
            request.method(),
            request.headers(),
        )
        .unwrap()
    }

    #[test]
    fn the_usual_is_not_said() {
        let request = of_parcel(&parcel(Manner::default(), b"x"), 0, false)
            .body(())
            .unwrap();
        assert_eq!(
            request.headers().keys().collect::<Vec<_>>(),
            ["content-length"]
        );
    }

    #[test]
    fn what_a_provider_said_reaches_the_terminal() {
        for topic in ["news/weather", " 100 % /\u{f6}l", "/", "\u{65e5}\u{672c}"] {
            let manner = Manner {
                urgency: Urgency::Urgent,
                topic: Some(topic.parse().unwrap()),
                expires_at: Some(Timestamp::from_second(1_800_000_000).unwrap()),
            };
            let parcel = parcel(manner, b"0123456789");
            let arrival = read_back(&parcel, 0);
            assert_eq!(
                (&arrival.manner, arrival.offset, arrival.size),
                (parcel.manner(), 0, 10)
            );
            assert_eq!(
                (read_back(&parcel, 7).offset, read_back(&parcel, 7).size),
                (7, 10)
            );
        }
    }

    #[test]
    fn nothing_expires_early_on_the_line() {
        let at = Timestamp::from_millisecond(1_800_000_000_001).unwrap();
        let parcel = parcel(
            Manner {
                expires_at: Some(at),
                ..Manner::default()
            },
            b"x",
        );
        assert_eq!(
            read_back(&parcel, 0).manner.expires_at,
            Timestamp::from_second(1_800_000_001).ok()
        );
    }

    #[test]
    fn an_arrival_names_the_field_that_is_wrong() {
        let head = parcel(Manner::default(), b"x").head().clone();
        let mut headers = HeaderMap::new();
        let id = head.id.to_string();
        assert!(
            read_arrival(&id, &Method::PUT, &headers)
                .unwrap_err()
                .contains("content-length")
        );
        headers.insert(CONTENT_LENGTH, "1".parse().unwrap());
        assert!(
            read_arrival("../x", &Method::PUT, &headers)
                .unwrap_err()
                .contains("message id")
        );
        for (field, value, fault) in [
            (UPLOAD_OFFSET, "-1", "upload-offset"),
            (UPLOAD_OFFSET, "18446744073709551615", "upload-length"),
            (UPLOAD_LENGTH, "0", "do not come to"),
            (UPLOAD_COMPLETE, "?1", "do not come to"),
        ] {
            headers.insert(field, value.parse().unwrap());
            let refused = read_arrival(&id, &Method::PATCH, &headers).unwrap_err();
            assert!(refused.contains(fault), "{field}: {value}: {refused}");
        }
        for (field, value) in [
            (TOPIC, "news/#"),
            (TOPIC, "%0a"),
            (TOPIC, "%ff"),
            (TOPIC, ""),
            (URGENCY, "now"),
            (EXPIRES, "1800000000"),
            (EXPIRES, "@99999999999999"),
            (EXPIRES, "@"),
        ] {
            headers.insert(field, value.parse().unwrap());
            let refused = read_arrival(&id, &Method::PUT, &headers).unwrap_err();
            assert!(refused.starts_with(field), "{field}: {value}: {refused}");
            headers.remove(field);
        }
        headers.insert(CONTENT_LENGTH, "16385".parse().unwrap());
        assert!(
            read_arrival(&id, &Method::PUT, &headers)
                .unwrap_err()
                .contains("content-digest"),
            "more than one DATA frame"
        );
        headers.insert(CONTENT_DIGEST, "md5=:AAAA:".parse().unwrap());
        assert!(
            read_arrival(&id, &Method::PUT, &headers)
                .unwrap_err()
                .contains("content-digest")
        );
        headers.insert(CONTENT_DIGEST, head.digest.to_header().parse().unwrap());
        assert_eq!(
            read_arrival(&id, &Method::PUT, &headers).unwrap().digest,
            Some(head.digest)
        );
        headers.insert(CONTENT_LENGTH, "16384".parse().unwrap());
        headers.remove(CONTENT_DIGEST);
        assert_eq!(
            read_arrival(&id, &Method::PUT, &headers).unwrap().digest,
            None
        );
    }

    #[test]
    fn zstd_is_the_one_encoding_that_is_known() {
        let mut headers = HeaderMap::new();
        assert!(is_encoding_known(&headers));
        for (value, is_known) in [
            ("zstd", true),
            ("gzip", false),
            ("zstd, zstd", false),
            ("identity", false),
        ] {
            headers.insert(CONTENT_ENCODING, value.parse().unwrap());
            assert_eq!(is_encoding_known(&headers), is_known, "{value}");
        }
        headers.insert(CONTENT_ENCODING, "zstd".parse().unwrap());
        headers.append(CONTENT_ENCODING, "zstd".parse().unwrap());
        assert!(!is_encoding_known(&headers));
    }
}
