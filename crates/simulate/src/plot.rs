//! Plots of a comparison, as SVG.

use crate::{
    Comparison, Row, Series,
    svg::{self, Scale, Svg},
};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const INK: &str = "#222222";
const GRID: &str = "#e4e4e4";

/// What is drawn of a [`Series`], panel below panel.
const PANELS: [(&str, fn(&Series) -> Vec<f64>); 3] = [
    ("instances", |series| sum(series, |function| &function.ready)),
    ("messages waiting", |series| sum(series, |function| &function.backlog)),
    ("oldest message, s", |series| {
        let mut oldest = vec![0.0f64; series.rate.len()];
        for function in &series.functions {
            oldest.iter_mut().zip(&function.oldest_s).for_each(|(most, age)| *most = most.max(*age));
        }
        oldest
    }),
];

fn sum(series: &Series, of: impl Fn(&crate::FunctionSeries) -> &Vec<f64>) -> Vec<f64> {
    let mut sums = vec![0.0; series.rate.len()];
    for function in &series.functions {
        sums.iter_mut().zip(of(function)).for_each(|(sum, value)| *sum += value);
    }
    sums
}

impl Comparison {
    /// Rate, instances, backlog and age over time, of these policies, for the first seed.
    pub fn time_plot(&self, policies: &[&str]) -> String {
        let rows: Vec<&Row> = policies.iter().filter_map(|policy| self.row(policy)).collect();
        let (height, top, gap) = (140.0, 60.0, 30.0);
        let total = top + (PANELS.len() + 1) as f64 * (height + gap) + 20.0;
        let mut svg = Svg::new(WIDTH, total);
        svg.text(LEFT, 22.0, "start", INK, &format!("{}: {}", self.trace, self.about));
        let Some(first) = rows.first() else { return svg.finish() };
        let end = first.series.step_s * first.series.rate.len() as f64;
        let x = Scale::linear(0.0, end, (LEFT, WIDTH - RIGHT));
        let mut panel = |n: usize, name: &str, lines: &[(&str, Vec<f64>)]| {
            let y0 = top + n as f64 * (height + gap);
            let most = lines.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
            let y = Scale::linear(0.0, most * 1.05, (y0 + height, y0));
            svg.text(LEFT, y0 - 6.0, "start", INK, name);
            axes(&mut svg, x, y, (LEFT, WIDTH - RIGHT), (y0, y0 + height));
            for (color, values) in lines {
                let step = first.series.step_s;
                let points: Vec<_> =
                    (1..).zip(values).map(|(n, v)| (x.place(f64::from(n) * step), y.place(*v))).collect();
                svg.line(&points, color, 1.5);
            }
        };
        panel(0, "messages published per second", &[(INK, first.series.rate.clone())]);
        for (n, (name, values)) in PANELS.iter().enumerate() {
            let lines: Vec<_> = rows.iter().map(|row| (self.color(row), values(&row.series))).collect();
            panel(n + 1, name, &lines);
        }
        for (n, row) in rows.iter().enumerate() {
            svg.text(WIDTH - RIGHT + 12.0, top + 14.0 + 18.0 * n as f64, "start", self.color(row), &row.policy);
        }
        svg.text((LEFT + WIDTH - RIGHT) / 2.0, total - 10.0, "middle", INK, "seconds");
        svg.finish()
    }

    /// The same in all plots: gray for who knows the future, the first policy's own, the others' in turn.
    fn color(&self, row: &Row) -> &'static str {
        let place = self.rows.iter().position(|other| other.policy == row.policy).unwrap_or_default();
        match place {
            _ if row.knows_the_future => svg::GRAY,
            0 => svg::FIRST,
            n => svg::color(n - 1),
        }
    }

    /// p99 age against cost: lower and further left is better. What keeps the target is filled.
    pub fn pareto_plot(&self) -> String {
        let (top, bottom, height) = (60.0, 420.0, 470.0);
        let mut svg = Svg::new(WIDTH, height);
        svg.text(
            LEFT,
            22.0,
            "start",
            INK,
            &format!("{}: p99 age and cost, filled where the target is kept", self.trace),
        );
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.filter(|v| *v > 0.0).fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)))
        };
        let target_s = self.setting.target.as_secs_f64();
        let ages = bounds(&mut self.rows.iter().map(|row| row.outcome.p99_s).chain([target_s]));
        let costs = bounds(&mut self.rows.iter().map(|row| row.outcome.instance_s).chain([self.work_s]));
        let x = Scale::logarithmic(costs.0 * 0.9, costs.1 * 1.1, (LEFT, WIDTH - RIGHT));
        let y = Scale::logarithmic(ages.0 * 0.7, ages.1 * 1.4, (bottom, top));
        axes(&mut svg, x, y, (LEFT, WIDTH - RIGHT), (top, bottom));
        let (x_work, y_target) = (x.place(self.work_s), y.place(target_s));
        svg.line(&[(x_work, top), (x_work, bottom)], "#999999", 1.0);
        svg.text(x_work + 4.0, top + 12.0, "start", "#666666", "work alone");
        svg.line(&[(LEFT, y_target), (WIDTH - RIGHT, y_target)], "#999999", 1.0);
        svg.text(WIDTH - RIGHT + 4.0, y_target + 4.0, "start", "#666666", "target");
        let mut labels: Vec<(f64, f64)> = Vec::new();
        for row in &self.rows {
            let color = self.color(row);
            let (x, y) = (x.place(row.outcome.instance_s), y.place(row.outcome.p99_s));
            let title =
                format!("{}: {:.2} s, {:.0} instance-seconds", row.policy, row.outcome.p99_s, row.outcome.instance_s);
            svg.dot(x, y, row.keeps_target, color, &title);
            // A label goes down until it hides none before it.
            let mut at = y + 4.0;
            while labels.iter().any(|&(lx, ly)| (lx - x).abs() < 90.0 && (ly - at).abs() < 12.0) {
                at += 3.0;
            }
            labels.push((x, at));
            svg.text(x + 9.0, at, "start", color, &row.policy);
        }
        svg.text((LEFT + WIDTH - RIGHT) / 2.0, bottom + 38.0, "middle", INK, "instance-seconds");
        svg.text(LEFT, top - 8.0, "start", INK, "p99 age, s");
        svg.finish()
    }
}

fn axes(svg: &mut Svg, x: Scale, y: Scale, across: (f64, f64), down: (f64, f64)) {
    for mark in x.marks() {
        let at = x.place(mark);
        svg.line(&[(at, down.0), (at, down.1)], GRID, 1.0);
        svg.text(at, down.1 + 15.0, "middle", INK, &svg::number(mark));
    }
    for mark in y.marks() {
        let at = y.place(mark);
        svg.line(&[(across.0, at), (across.1, at)], GRID, 1.0);
        svg.text(across.0 - 6.0, at + 4.0, "end", INK, &svg::number(mark));
    }
    svg.line(&[(across.0, down.0), (across.0, down.1), (across.1, down.1)], INK, 1.0);
}
