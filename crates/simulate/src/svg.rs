//! A little SVG: lines, dots and words on axes.

use std::fmt::Write;

/// Colors that differ for most eyes (Okabe and Ito): for what matters most, for who knows the future, for the others.
pub(crate) const FIRST: &str = "#d55e00";
pub(crate) const GRAY: &str = "#777777";
const COLORS: [&str; 6] = ["#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31"];

pub(crate) fn color(n: usize) -> &'static str {
    COLORS[n % COLORS.len()]
}

/// A drawing, built up piece by piece.
#[derive(Debug)]
pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(crate) fn line(&mut self, points: &[(f64, f64)], color: &str, width: f64) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{x:.1},{y:.1} ");
        }
        self.tag(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>"#,
            list.trim_end()
        ));
    }

    pub(crate) fn dot(&mut self, x: f64, y: f64, is_filled: bool, color: &str, title: &str) {
        let fill = if is_filled { color } else { "white" };
        self.tag(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="{fill}" stroke="{color}" stroke-width="2"><title>{}</title></circle>"#,
            escaped(title)
        ));
    }

    /// Words that begin, end or lie in the middle at a point: `start`, `end`, `middle`.
    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: &str, color: &str, text: &str) {
        self.tag(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{color}">{}</text>"#,
            escaped(text)
        ));
    }

    pub(crate) fn finish(self) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>
{}</svg>
"#,
            self.body
        )
    }

    fn tag(&mut self, tag: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{tag}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A scale along one side of a plot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    /// Where `from` and `to` are drawn.
    at: (f64, f64),
}

impl Scale {
    pub(crate) fn linear(from: f64, to: f64, at: (f64, f64)) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, is_logarithmic: false, at }
    }

    /// Both ends more than 0.
    pub(crate) fn logarithmic(from: f64, to: f64, at: (f64, f64)) -> Self {
        let from = from.max(1e-9);
        Self { from, to: if to > from { to } else { from * 10.0 }, is_logarithmic: true, at }
    }

    /// Where a value is drawn; what lies outside is drawn at the end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        let part = if self.is_logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.at.0 + part * (self.at.1 - self.at.0)
    }

    /// Values that are marked, about five.
    pub(crate) fn marks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let marks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(decade)));
            let all: Vec<f64> = marks.filter(|mark| (self.from..=self.to).contains(mark)).collect();
            let is_round = |mark: &f64| (mark.log10() - mark.log10().round()).abs() < 1e-9;
            match all.len() {
                0..=2 => self.even_marks(),
                3..=9 => all,
                _ => all.into_iter().filter(is_round).collect(),
            }
        } else {
            self.even_marks()
        }
    }

    fn even_marks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(decade * 10.0);
        let first = (self.from / step).ceil() as i64;
        (first..).map(|n| n as f64 * step).take_while(|mark| *mark <= self.to * (1.0 + 1e-9)).collect()
    }
}

/// A number as briefly as it can be told apart from its neighbours on a scale.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 10_000.0 {
        format!("{}k", trimmed(value / 1_000.0, 1))
    } else if magnitude >= 10.0 || magnitude == 0.0 {
        trimmed(value, 0)
    } else {
        trimmed(value, 3)
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_well_formed_whatever_is_written_on_it() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text(1.0, 1.0, "start", "black", "<script>&\"");
        let text = svg.finish();
        assert!(text.contains("&lt;script&gt;&amp;&quot;"), "{text}");
        assert_eq!(text.matches('<').count(), text.matches('>').count());
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(Scale::linear(0.0, 80.0, (0.0, 1.0)).marks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(Scale::logarithmic(16e3, 40e3, (0.0, 1.0)).marks(), [20e3, 25e3, 30e3, 35e3, 40e3]);
        assert_eq!(Scale::logarithmic(0.3, 12.0, (0.0, 1.0)).marks(), [0.5, 1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn values_are_placed_between_the_ends() {
        let scale = Scale::logarithmic(1.0, 100.0, (50.0, 250.0));
        assert_eq!([0.1, 1.0, 10.0, 1e9].map(|value| scale.place(value)), [50.0, 50.0, 150.0, 250.0]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.25, 1.0, 12.0, 80.0, 12_500.0].map(number), ["0", "0.25", "1", "12", "80", "12.5k"]);
    }
}
