//! The text that Prometheus reads: each metric with its help and type, then its samples.

use std::fmt::Write;

/// A metric's sample: its labels, and its value.
pub type Sample = (Vec<(&'static str, String)>, f64);

/// A text in the making.
#[derive(Default)]
pub struct Exposition(String);

impl Exposition {
    /// Appends a gauge; nothing when it has no sample. Each name once.
    pub fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.line(format_args!("# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n")));
        self.line(format_args!("# TYPE {name} gauge"));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            match labels.is_empty() {
                true => self.line(format_args!("{name} {value}")),
                false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
            }
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes what it is given");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_what_has_no_sample_is_not_there() {
        let mut text = Exposition::default();
        text.gauge("none", "Nothing.", []);
        text.gauge("up", "Whether\nall is well.", [(Vec::new(), 1.0)]);
        let labels = vec![("directory", "/a \"b\"\\c\n".to_owned()), ("place", "here".to_owned())];
        text.gauge("bytes", "Bytes.", [(labels, (1u64 << 40) as f64)]);
        let expected = "# HELP up Whether\\nall is well.\n# TYPE up gauge\nup 1\n# HELP bytes Bytes.\n# TYPE bytes gauge\n\
                        bytes{directory=\"/a \\\"b\\\"\\\\c\\n\",place=\"here\"} 1099511627776\n";
        assert_eq!(text.finish(), expected);
    }
}
