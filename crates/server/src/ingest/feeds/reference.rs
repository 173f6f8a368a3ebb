//! Pure. Where a link of a feed leads: references are resolved against the address of the feed (RFC 3986 §5.2).

/// The reference as a whole URL, as far as `base` has one.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    let reference = reference.trim();
    let Some((scheme, rest)) = base.split_once("://") else {
        return reference.to_owned();
    };
    if has_scheme(reference) {
        return reference.to_owned();
    }
    if reference.starts_with("//") {
        return format!("{scheme}:{reference}");
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest
        .split_once('?')
        .map_or((rest, ""), |(path, query)| (path, query));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let root = format!("{scheme}://{authority}");
    match reference.chars().next() {
        None => base.split('#').next().unwrap_or_default().to_owned(),
        Some('#') if query.is_empty() => format!("{root}{path}{reference}"),
        Some('#') => format!("{root}{path}?{query}{reference}"),
        Some('?') => format!("{root}{path}{reference}"),
        Some('/') => format!("{root}{}", without_dots(reference)),
        Some(_) => {
            let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            format!(
                "{root}{}",
                without_dots(&format!("/{}{reference}", folder.trim_start_matches('/')))
            )
        }
    }
}

fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    let is_of_it = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.');
    scheme.starts_with(|char: char| char.is_ascii_alphabetic()) && scheme.chars().all(is_of_it)
}

/// A path from the root on without `.` and `..` (§5.2.4); what follows it stays.
fn without_dots(reference: &str) -> String {
    let end = reference.find(['?', '#']).unwrap_or(reference.len());
    let (path, rest) = reference.split_at(end);
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let ends_in_folder = path.ends_with("/.") || path.ends_with("/..");
    format!(
        "/{}{}{rest}",
        kept.join("/"),
        if ends_in_folder && !kept.is_empty() {
            "/"
        } else {
            ""
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_where_it_says() {
        for (base, reference, expected) in [
            ("https://a.example/b/c?d=1", "http://x/y#z", "http://x/y#z"),
            ("https://a.example/b/c?d=1", "mailto:x@y", "mailto:x@y"),
            ("https://a.example/b/c?d=1", "//x/y", "https://x/y"),
            (
                "https://a.example/b/c?d=1",
                "/y?q#z",
                "https://a.example/y?q#z",
            ),
            ("https://a.example/b/c?d=1", "y", "https://a.example/b/y"),
            (
                "https://a.example/b/c/",
                "../../../y/./z/..",
                "https://a.example/y/",
            ),
            ("https://a.example/b/c?d=1", "?e", "https://a.example/b/c?e"),
            (
                "https://a.example/b/c?d=1",
                "#f",
                "https://a.example/b/c?d=1#f",
            ),
            (
                "https://a.example/b/c?d=1#g",
                "",
                "https://a.example/b/c?d=1",
            ),
            ("https://a.example", "y:1/z", "y:1/z"),
            ("https://a.example", " y/z ", "https://a.example/y/z"),
            ("", "y", "y"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{base} {reference}");
        }
    }
}
