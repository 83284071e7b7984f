//! Charts as SVG inside of a page: its style sheet gives them their colours.

/// Width and height of a chart, and where its field lies in it.
const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// How many lines a scale has at most, beside that at zero.
const LINES_MAX: f64 = 5.0;
/// The widest bar.
const BAR: f64 = 56.0;

/// A bar: what it is called, how high it is, and what that is in words.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub told: String,
}

/// How values stand on a scale.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    FromZero,
    /// The same, and a thousand is 1,024.
    BytesFromZero,
    /// Each line is ten times the one below.
    Tenfold,
}

/// A curve over time in seconds, over marks on the time's axis; `told` names a value.
pub fn curve(points: &[(f64, f64)], marks: &[(f64, String)], told: impl Fn(f64) -> String) -> String {
    let most = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let end = points.iter().map(|(at, _)| *at).fold(1e-9, f64::max);
    let axis = Axis::new(0.0, most, Scale::FromZero);
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let mut svg = axis.lines(&told);
    for (at, name) in marks.iter().filter(|(at, _)| *at <= end) {
        let x = x(*at);
        svg += &format!(
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"><title>{}</title></line>",
            HEIGHT - BOTTOM,
            escaped(name)
        );
    }
    let path: Vec<String> = points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), axis.y(*value))).collect();
    if let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) {
        let (first, last, base) = (x(*first), x(*last), HEIGHT - BOTTOM);
        svg += &format!("<polygon class=\"area\" points=\"{first:.1},{base} {} {last:.1},{base}\"/>", path.join(" "));
        svg += &format!("<polyline class=\"curve\" points=\"{}\"/>", path.join(" "));
    }
    for (at, value) in points {
        let words = escaped(&format!("{at:.2} s: {}", told(*value)));
        svg += &format!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\"><title>{words}</title></circle>",
            x(*at),
            axis.y(*value)
        );
    }
    for second in steps(end) {
        svg += &text(x(second as f64), HEIGHT - BOTTOM + 18.0, "middle", &format!("{second} s"));
    }
    framed(&svg)
}

/// Bars side by side; `told` names values of the scale.
pub fn bars(bars: &[Bar], scale: Scale, told: impl Fn(f64) -> String) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let least = bars.iter().map(|bar| bar.value).filter(|value| *value > 0.0).fold(most, f64::min);
    let axis = Axis::new(least, most, scale);
    let room = (WIDTH - LEFT - RIGHT) / bars.len().max(1) as f64;
    let width = (room * 0.7).min(BAR);
    // Of names that would lie on each other, only some are written.
    let widest = bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0) as f64 * 7.0 + 8.0;
    let every = (widest / room).ceil().max(1.0) as usize;
    let mut svg = axis.lines(&told);
    for (index, bar) in bars.iter().enumerate() {
        let middle = LEFT + room * (index as f64 + 0.5);
        let y = axis.y(bar.value);
        svg += &format!(
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"><title>{}</title></rect>",
            middle - width / 2.0,
            (HEIGHT - BOTTOM - y).max(0.0),
            escaped(&format!("{}: {}", bar.name, bar.told))
        );
        if bars.len() <= 12 {
            svg += &text(middle, y - 4.0, "middle", &bar.told);
        }
        if index.is_multiple_of(every) {
            svg += &text(middle, HEIGHT - BOTTOM + 18.0, "middle", &bar.name);
        }
    }
    framed(&svg)
}

/// The scale at the left.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    lines: Vec<f64>,
}

impl Axis {
    fn new(least: f64, most: f64, scale: Scale) -> Axis {
        match scale {
            Scale::FromZero | Scale::BytesFromZero => {
                let mut unit = 1.0;
                while scale == Scale::BytesFromZero && most / LINES_MAX >= unit * 1024.0 {
                    unit *= 1024.0;
                }
                let step = step(most / LINES_MAX / unit) * unit;
                let high = (most / step).ceil().max(1.0) * step;
                let lines = (0..=(high / step).round() as u32).map(|line| f64::from(line) * step).collect();
                // Room for what stands above the highest bar.
                Axis { scale, low: 0.0, high: high * 1.06, lines }
            }
            Scale::Tenfold => {
                let low = least.max(1.0).log10().floor();
                let high = most.max(1.0).log10().ceil().max(low + 1.0);
                let lines = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
                Axis { scale, low, high: high + (high - low) * 0.06, lines }
            }
        }
    }

    /// The height of a value, from the top.
    fn y(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Tenfold { value.max(1.0).log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    fn lines(&self, told: &impl Fn(f64) -> String) -> String {
        let line = |value: &f64| {
            let y = self.y(*value);
            let name = text(LEFT - 8.0, y + 4.0, "end", &told(*value));
            format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>{name}",
                WIDTH - RIGHT
            )
        };
        self.lines.iter().map(line).collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
fn step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(10.0 * power)
}

/// Whole seconds along the time, not too many.
fn steps(end: f64) -> Vec<u64> {
    let every = (step(end / 10.0).ceil() as u64).max(1);
    (0..=end as u64).step_by(every as usize).collect()
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(text))
}

fn framed(inside: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{inside}</svg>")
}

/// Text as a page takes it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_few_round_lines_that_hold_all_values() {
        for most in [0.0, 0.4, 1.0, 7.0, 99.0, 123_456.0, 1e9] {
            let axis = Axis::new(0.0, most, Scale::FromZero);
            assert!((2..=7).contains(&axis.lines.len()), "{most}: {:?}", axis.lines);
            assert!(axis.high >= most && axis.y(most) >= TOP - 0.01, "{most}: {:?}", axis.lines);
        }
        let axis = Axis::new(0.0, f64::from(7 << 20), Scale::BytesFromZero);
        assert_eq!(axis.lines, [0, 2, 4, 6, 8].map(|mib| f64::from(mib << 20)));
        let axis = Axis::new(640.0, 4e6, Scale::Tenfold);
        assert_eq!(axis.lines, [1e2, 1e3, 1e4, 1e5, 1e6, 1e7]);
        assert!(axis.y(640.0) > axis.y(4e6));
        assert_eq!(Axis::new(0.0, 0.0, Scale::Tenfold).lines, [1.0, 10.0]);
    }

    #[test]
    fn charts_of_nothing_and_of_one_are_charts() {
        let told = |value: f64| format!("{value}");
        let one = Bar { name: "a<b".into(), value: 3.0, told: "three".into() };
        for svg in [
            curve(&[], &[], told),
            curve(&[(0.125, 5.0)], &[(0.1, "mark".into()), (9.0, "too late".into())], told),
            bars(&[], Scale::FromZero, told),
            bars(&[one], Scale::Tenfold, told),
        ] {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
            assert!(
                !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a<b") && !svg.contains("late"),
                "{svg}"
            );
        }
        assert_eq!(steps(1.0), [0, 1]);
        assert_eq!(steps(59.9).len(), 6);
    }
}
