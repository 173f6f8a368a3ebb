//! Pure. The two formats in which Prometheus reads metrics: OpenMetrics 1.0, and the text format 0.0.4 before it.

/// Whether a request's `Accept` ranks OpenMetrics before plain text (RFC 9110 §12.5.1).
pub(super) fn prefers_open_metrics<'a>(accepts: impl Iterator<Item = &'a str>) -> bool {
    let (mut open, mut plain) = (0.0, 0.0);
    for range in accepts.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
            .unwrap_or(1.0);
        match kind {
            "application/openmetrics-text" => open = weight.max(open),
            "text/plain" | "text/*" | "*/*" => plain = weight.max(plain),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

/// OpenMetrics' text in the older format: a counter's family has the name of its samples, and there is no end mark.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    let mut line_out = |words: &[&str]| {
        text.push_str(&words.join(" "));
        text.push('\n');
    };
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let family = if kind == "counter" {
                format!("{name}_total")
            } else {
                name.to_owned()
            };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                line_out(&["# HELP", &family, words]);
            }
            line_out(&[
                "# TYPE",
                &family,
                if kind == "unknown" { "untyped" } else { kind },
            ]);
        } else if !line.starts_with("# ") {
            line_out(&[line]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_given_that_is_asked_for() {
        let prefers = |accept: &str| prefers_open_metrics([accept].into_iter());
        assert!(prefers(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        ));
        assert!(prefers("application/openmetrics-text"));
        for plain in [
            "",
            "*/*",
            "text/plain",
            "text/plain;q=0.5,application/openmetrics-text;q=0.2",
            "application/openmetrics-text;q=0",
        ] {
            assert!(!prefers(plain), "{plain}");
        }
        assert!(!prefers_open_metrics(std::iter::empty()));
    }

    #[test]
    fn a_counter_has_one_name_in_the_older_format_and_each_family_has_its_help() {
        let open = "# HELP ringup_calls Calls that are over.\n# TYPE ringup_calls counter\nringup_calls_total{line=\"a\"} 1\n\
                    # HELP ringup_lines Lines.\n# TYPE ringup_lines gauge\nringup_lines{state=\"free\"} 2\n# EOF\n";
        let expected = "# HELP ringup_calls_total Calls that are over.\n# TYPE ringup_calls_total counter\nringup_calls_total{line=\"a\"} 1\n\
                        # HELP ringup_lines Lines.\n# TYPE ringup_lines gauge\nringup_lines{state=\"free\"} 2\n";
        assert_eq!(plain(open), expected);
    }
}
