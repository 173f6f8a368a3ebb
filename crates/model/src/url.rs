//! Where something is on the Web: `https://example.org/verdicts`, or `http:`.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// Octets of one.
const OCTETS_MAX: usize = 1000;

/// A URL that is spoken to: `http` or `https`, with a host, without user or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

/// The text is no [`HttpUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "give http://HOST/PATH or https://HOST/PATH, at most 1000 octets, without user, password or fragment"
)]
pub struct HttpUrlError;

impl HttpUrl {
    /// Whether it is to be reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host's name or address; of an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port, the scheme's if the URL names none.
    pub fn port(&self) -> u16 {
        self.0
            .port_u16()
            .unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// What the field `host` of a request says.
    pub fn authority(&self) -> &str {
        self.0
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query, `/` at least.
    pub fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl HttpUrl {
    /// Where a redirect from here leads (RFC 3986 §5.2, as far as servers use it): a whole URL, `//HOST/PATH`, `/PATH`, or a path
    /// beside this one.
    pub fn join(&self, to: &str) -> Option<Self> {
        let to = to.split('#').next().unwrap_or_default();
        let scheme = if self.is_secure() { "https" } else { "http" };
        let whole = if to.contains("://") {
            to.to_owned()
        } else if let Some(rest) = to.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if to.starts_with('/') {
            format!("{scheme}://{}{to}", self.authority())
        } else {
            let path = self.0.path();
            let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            format!("{scheme}://{}{folder}{to}", self.authority())
        };
        whole.parse().ok()
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        if text.len() > OCTETS_MAX || text.contains('#') {
            return Err(HttpUrlError);
        }
        let uri: Uri = text.parse().map_err(|_| HttpUrlError)?;
        let is_http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        // What is no port `Uri` takes for none.
        let after_host = uri
            .authority()
            .zip(uri.host())
            .and_then(|(all, host)| all.as_str().strip_prefix(host));
        let has_port = match after_host.map(|rest| rest.strip_prefix(':').map(str::parse::<u16>)) {
            None => false,
            Some(None) => true,
            Some(Some(port)) => port.is_ok_and(|port| port != 0),
        };
        if is_http && has_host && !has_user && has_port {
            Ok(Self(uri))
        } else {
            Err(HttpUrlError)
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_it_says() {
        let from: HttpUrl = "https://example.org/a/feed?x=1".parse().unwrap();
        for (to, expected) in [
            ("http://other.example/x", Some("http://other.example/x")),
            ("//other.example/x", Some("https://other.example/x")),
            ("/x#part", Some("https://example.org/x")),
            ("y", Some("https://example.org/a/y")),
            ("ftp://other.example/", None),
            ("https://user@other.example/", None),
        ] {
            assert_eq!(
                from.join(to).map(|url| url.to_string()).as_deref(),
                expected,
                "{to}"
            );
        }
    }

    #[test]
    fn a_webhook_has_a_scheme_a_host_and_no_secrets_in_it() {
        let url: HttpUrl = "https://example.org/verdicts?of=all".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.path(), url.is_secure()),
            ("example.org", 443, "/verdicts?of=all", true)
        );
        let url: HttpUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.path(), url.is_secure()),
            ("::1", 8080, "/", false)
        );
        let long = format!("http://x/{}", "a".repeat(1000));
        for text in [
            "",
            "example.org",
            "/verdicts",
            "ftp://example.org/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://user:pass@example.org/",
            "http://example.org:0/",
            "http://example.org:99999/",
            "http://example.org/#x",
            "http://exa mple.org/",
            "http://example.org/\r\nx: y",
            &long,
        ] {
            assert_eq!(text.parse::<HttpUrl>(), Err(HttpUrlError), "{text:?}");
        }
    }
}
