//! Pure. What a submission says beside its content: in the query, and in header fields. The time comes in as `now`.

use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use delivery::{Topic, Urgency};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;

use super::Problem;
use super::cloud_event::CloudEvent;
use crate::intake::KEY_OCTETS_MAX;
use model::directory::Recipient;
use store::Handling;

/// The longest that a message may wait until it expires: ten years, in seconds.
const EXPIRES_SECONDS_MAX: i64 = 10 * 366 * 24 * 3600;

/// Whom a submission is for, and how it is to be treated.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) recipients: Vec<Recipient>,
    pub(super) handling: Handling,
}

impl Wanted {
    /// Reads `to=tel:201&to=...&urgency=urgent&expires=3600&replace=KEY&topic=news/weather`, and the fields `TTL` (RFC 8030
    /// §5.2) and `Idempotency-Key`. A `+` is a plus, as in a number, not a blank, as in a form.
    pub(super) fn read(query: &str, headers: &HeaderMap, now: Timestamp) -> Result<Self, Problem> {
        let (mut recipients, mut urgency, mut expires, mut replace, mut topic) =
            (Vec::new(), None, None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8();
            let value =
                value.map_err(|_| Problem::new("query", format!("{pair:?} is not UTF-8")))?;
            match key {
                "to" => recipients.push(parsed("to", &value)?),
                "urgency" => once(
                    &mut urgency,
                    "urgency",
                    parsed::<Urgency>("urgency", &value)?,
                )?,
                "expires" => once(&mut expires, "expires", expiry(&value, now)?)?,
                "replace" => once(&mut replace, "replace", key_text("replace", &value)?)?,
                "topic" => once(&mut topic, "topic", parsed::<Topic>("topic", &value)?)?,
                _ => {
                    let known = "give to=DESTINATION or to=topic:TOPIC, urgency=, expires=, replace= or topic=";
                    return Err(Problem::new(
                        "query",
                        format!("{pair:?} is not known here; {known}"),
                    ));
                }
            }
        }
        let event = CloudEvent::read(headers)?;
        if let Some(event) = event.as_ref().filter(|_| recipients.is_empty()) {
            recipients.push(Recipient::Subscribers(parsed("ce-type", &event.kind)?));
        }
        if recipients.is_empty() && event.is_none() && is_structured_event(headers) {
            let detail = "of CloudEvents only the binary mode is known here: attributes in ce- fields, the data as body";
            return Err(Problem::unsupported("content-type", detail.to_owned()));
        }
        if let Some(ttl) = field(headers, "ttl")? {
            let seconds = ttl
                .parse::<u32>()
                .map_err(|_| Problem::new("ttl", "TTL is a number of seconds".to_owned()))?;
            if seconds == 0 {
                let detail = "TTL 0 (now or never, RFC 8030 §5.2) is not offered: a terminal is called first; give 60 or more";
                return Err(Problem::new("ttl", detail.to_owned()));
            }
            once(&mut expires, "ttl", expiry(&seconds.to_string(), now)?)?;
        }
        let handling = Handling {
            urgency: urgency.unwrap_or_default(),
            topic,
            expires_at: expires,
            replace_key: replace,
            idempotency_key: match field(headers, "idempotency-key")? {
                Some(key) => Some(idempotency_key(key)?),
                None => event.map(|event| event.key()),
            },
            return_path: None,
        };
        Ok(Self {
            recipients,
            handling,
        })
    }
}

fn parsed<T: FromStr<Err: ToString>>(field: &'static str, value: &str) -> Result<T, Problem> {
    value
        .parse()
        .map_err(|error: T::Err| Problem::new(field, format!("{value:?}: {}", error.to_string())))
}

fn once<T>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), Problem> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::new(field, format!("{field} is given twice"))),
    }
}

/// A header field that stands there once.
pub(super) fn field<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Problem::new(name, format!("{name} is given twice")));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| Problem::new(name, format!("{name} has characters that are not ASCII")))
}

/// CloudEvents in structured or batch mode: attributes and data are in the body together.
fn is_structured_event(headers: &HeaderMap) -> bool {
    const PREFIX: &str = "application/cloudevents";
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    text.and_then(|text| text.get(..PREFIX.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Seconds from now, or an instant.
fn expiry(value: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = || {
        let help = "give seconds from now, such as 3600, or a time such as 2026-12-24T18:00:00Z; at most ten years";
        Problem::new("expires", format!("{value:?}: {help}"))
    };
    let at = match value.parse::<i64>() {
        Ok(seconds @ 1..=EXPIRES_SECONDS_MAX) => {
            now.checked_add(SignedDuration::from_secs(seconds))
        }
        Ok(_) => return Err(wrong()),
        Err(_) => value.parse(),
    };
    let at = at.map_err(|_| wrong())?;
    if at.as_second() - now.as_second() > EXPIRES_SECONDS_MAX {
        Err(wrong())
    } else {
        Ok(at)
    }
}

fn key_text(field: &'static str, value: &str) -> Result<String, Problem> {
    let is_key =
        !value.is_empty() && value.len() <= KEY_OCTETS_MAX && !value.chars().any(char::is_control);
    let wrong = || {
        Problem::new(
            field,
            format!("a key has 1 to {KEY_OCTETS_MAX} octets and no control characters"),
        )
    };
    is_key.then(|| value.to_owned()).ok_or_else(wrong)
}

/// In quotes, as a structured field (RFC 9651 §3.3.3) writes a string, or without.
fn idempotency_key(value: &str) -> Result<String, Problem> {
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    key_text("idempotency-key", bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn read(query: &str, headers: &[(&'static str, &'static str)]) -> Result<Wanted, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Wanted::read(query, &map, now()).map_err(|problem| problem.field)
    }

    #[test]
    fn recipients_are_read_from_the_query_and_faults_name_their_field() {
        let expected: Vec<Recipient> = vec![
            "tel:+49301234".parse().unwrap(),
            "ip:10.77.0.2".parse().unwrap(),
        ];
        assert_eq!(
            read("to=tel:%2B49301234&to=ip:10.77.0.2", &[])
                .unwrap()
                .recipients,
            expected
        );
        assert_eq!(read("", &[]), Ok(Wanted::default()));
        assert_eq!(read("to=201", &[]), Err("to"));
        assert_eq!(read("too=tel:201", &[]), Err("query"));
        assert_eq!(read("to=%ff", &[]), Err("query"));
    }

    #[test]
    fn a_cloud_event_goes_to_those_registered_for_its_type_and_is_one_submission_however_often_it_is_sent()
     {
        let event = [
            ("ce-specversion", "1.0"),
            ("ce-id", "17"),
            ("ce-source", "/gauge"),
            ("ce-type", "level/high"),
        ];
        let wanted = read("", &event).unwrap();
        assert_eq!(
            wanted.recipients,
            ["topic:level/high".parse::<Recipient>().unwrap()]
        );
        assert_eq!(
            wanted.handling.idempotency_key.as_deref(),
            Some("/gauge 17")
        );
        let to = read("to=tel:301", &event).unwrap();
        assert_eq!(to.recipients, ["tel:301".parse::<Recipient>().unwrap()]);
        let keyed = read("", &[&event[..], &[("idempotency-key", "mine")]].concat()).unwrap();
        assert_eq!(keyed.handling.idempotency_key.as_deref(), Some("mine"));
        for (missing, field) in [(1, "ce-id"), (2, "ce-source"), (3, "ce-type")] {
            let mut event = event.to_vec();
            event.remove(missing);
            assert_eq!(read("to=tel:301", &event), Err(field));
        }
        let other = [
            ("ce-specversion", "2.0"),
            ("ce-id", "17"),
            ("ce-source", "/gauge"),
            ("ce-type", "level"),
        ];
        assert_eq!(read("", &other), Err("ce-specversion"));
        let long = CloudEvent::read(
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "17"),
                ("ce-type", "level"),
            ]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .chain([(
                "ce-source".parse().unwrap(),
                "s".repeat(200).parse().unwrap(),
            )])
            .collect(),
        );
        assert_eq!(long.unwrap().unwrap().key().len(), 64);
    }

    #[test]
    fn how_a_message_is_to_be_treated_is_read_and_whatever_is_wrong_names_its_field() {
        let read_handling = |query, headers| read(query, headers).map(|wanted| wanted.handling);
        let all = "urgency=bulk&expires=60&replace=level%2F7&topic=news/weather";
        let handling = read_handling(all, &[("idempotency-key", "\"sale 17\"")]).unwrap();
        assert_eq!(handling.urgency, Urgency::Bulk);
        assert_eq!(
            handling.expires_at,
            Some("2026-11-23T12:01:00Z".parse().unwrap())
        );
        assert_eq!(handling.replace_key.as_deref(), Some("level/7"));
        assert_eq!(
            handling.topic.map(|topic| topic.to_string()).as_deref(),
            Some("news/weather")
        );
        assert_eq!(handling.idempotency_key.as_deref(), Some("sale 17"));
        let at = read_handling("expires=2026-12-24T18:00:00%2B01:00", &[])
            .unwrap()
            .expires_at;
        assert_eq!(at, Some("2026-12-24T17:00:00Z".parse().unwrap()));
        assert_eq!(
            read_handling("", &[("ttl", "60")]).unwrap().expires_at,
            Some("2026-11-23T12:01:00Z".parse().unwrap())
        );
        for (query, headers, field) in [
            ("urgency=soon", &[][..], "urgency"),
            ("urgency=bulk&urgency=urgent", &[], "urgency"),
            ("expires=0", &[], "expires"),
            ("expires=-5", &[], "expires"),
            ("expires=tomorrow", &[], "expires"),
            ("expires=99999999999999999999", &[], "expires"),
            ("expires=9223372036854775807", &[], "expires"),
            ("expires=9999-01-01T00:00:00Z", &[], "expires"),
            ("replace=", &[], "replace"),
            ("replace=%00", &[], "replace"),
            ("topic=a/%23", &[], "topic"),
            ("", &[("ttl", "soon")], "ttl"),
            ("expires=60", &[("ttl", "60")], "ttl"),
            ("", &[("idempotency-key", "")], "idempotency-key"),
            (
                "",
                &[("idempotency-key", "a"), ("idempotency-key", "b")],
                "idempotency-key",
            ),
        ] {
            assert_eq!(
                read_handling(query, headers),
                Err(field),
                "{query} {headers:?}"
            );
        }
        let long = format!("replace={}", "k".repeat(KEY_OCTETS_MAX + 1));
        assert_eq!(read_handling(&long, &[]), Err("replace"));
    }
}
