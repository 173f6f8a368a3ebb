//! Pure. The text of a delivery status notification (RFC 3464, in a multipart/report of RFC 6522).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use modem::shown;

use super::BounceConfig;
use model::verdict::Verdict;
use store::Bounce;

/// The header of a mail, as it is; nothing beyond `most` octets, and no half line.
pub(super) fn header_of(content: &[u8], most: usize) -> String {
    let end = content
        .windows(4)
        .position(|octets| octets == b"\r\n\r\n")
        .map_or(content.len(), |end| end + 2);
    let header = &content[..end.min(most)];
    let whole = header
        .iter()
        .rposition(|octet| *octet == b'\n')
        .map_or(0, |end| end + 1);
    String::from_utf8_lossy(&header[..whole]).into_owned()
}

/// The whole notification.
pub(super) fn write(
    bounce: &Bounce,
    config: &BounceConfig,
    header: &str,
    now: Timestamp,
) -> String {
    let Bounce {
        message,
        accepted_at,
        sender,
        recipient,
        verdict,
        reason,
        ..
    } = bounce;
    let BounceConfig {
        hostname, domain, ..
    } = config;
    let date = |at: Timestamp| {
        at.to_zoned(TimeZone::UTC)
            .strftime("%a, %d %b %Y %H:%M:%S %z")
            .to_string()
    };
    let (now, arrived) = (date(now), date(*accepted_at));
    // RFC 3463: 5.4.7 delivery time expired; 5.7.0 a decision of people; 5.0.0 what has no other word.
    let (status, why) = match verdict {
        Verdict::Expired => ("5.4.7", "could not be delivered in time"),
        Verdict::Cancelled => ("5.7.0", "was withdrawn by the operator"),
        _ => ("5.0.0", "cannot be delivered"),
    };
    // What a terminal said goes no further than a line.
    let reason = shown::line(reason.as_deref().unwrap_or_default());
    let detail = if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    };
    // No line of the parts can be it: ids are random, and 22 characters long.
    let boundary = format!("ringup-{message}-{}", bounce.id);
    format!(
        "From: Mail delivery <postmaster@{domain}>\r\n\
         To: <{sender}>\r\n\
         Subject: Not delivered: {recipient}\r\n\
         Date: {now}\r\n\
         Message-ID: <{message}.{}@{hostname}>\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         Your mail of {arrived} to <{recipient}> {why}{detail}.\r\n\
         Nothing more is tried.\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: message/delivery-status\r\n\
         \r\n\
         Reporting-MTA: dns; {hostname}\r\n\
         Arrival-Date: {arrived}\r\n\
         \r\n\
         Final-Recipient: rfc822; {recipient}\r\n\
         Action: failed\r\n\
         Status: {status}\r\n\
         Diagnostic-Code: x-ringup; {verdict}{detail}\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/rfc822-headers; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         {header}\r\n\
         --{boundary}--\r\n",
        bounce.id
    )
}
