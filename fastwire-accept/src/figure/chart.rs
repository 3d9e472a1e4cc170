//! A line chart as SVG text: axes, grid, one line a series, a legend. Nothing else is needed here.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 46.0;
/// Told apart by most people with colour blindness (Okabe and Ito 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#999999"];

/// One line.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart; both axes begin at 0.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// The picture as SVG.
    pub(super) fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max).max(1e-9);
        let (x_step, x_end) = axis(most(&mut all().map(|point| point.0)));
        let (y_step, y_end) = axis(most(&mut all().map(|point| point.1)));
        let across = |x: f64| LEFT + x / x_end * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| HEIGHT - BOTTOM - y / y_end * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.title)
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for x in ticks(x_step, x_end) {
            let at = across(x);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                label(x)
            );
        }
        for y in ticks(y_step, y_end) {
            let at = up(y);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                label(y)
            );
        }
        let (middle, height) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n<text x=\"14\" y=\"{height}\" \
             text-anchor=\"middle\" transform=\"rotate(-90 14 {height})\">{}</text>",
            HEIGHT - 8.0,
            escaped(self.x),
            escaped(self.y)
        );
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points: Vec<String> =
                series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
            let (at, name) = (LEFT + 165.0 * index as f64, escaped(&series.name));
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\n\
                 <path d=\"M{at} 32h18\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{:.1}\" y=\"36\">{name}</text>",
                points.join(" "),
                at + 24.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A step of 1, 2 or 5 times a power of ten that gives four to ten ticks, and the end of the axis.
fn axis(most: f64) -> (f64, f64) {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let step = [5.0, 2.0, 1.0].map(|times| times * power).into_iter().find(|step| most / step >= 4.0);
    let step = step.unwrap_or(power);
    (step, (most / step - 1e-9).ceil() * step)
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..=(end / step).round() as u32).map(move |tick| f64::from(tick) * step)
}

fn label(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_four_to_ten_round_ticks_and_hold_every_value() {
        for value in [0.003, 0.7, 1.0, 2.5, 9.99, 10.0, 41.0, 60.0, 123_456.0] {
            let (step, end) = axis(value);
            let count = ticks(step, end).count();
            assert!(end >= value * 0.999 && (4..=11).contains(&count), "{value}: {count} ticks to {end}");
        }
    }

    #[test]
    fn a_chart_is_well_formed_and_stays_in_its_frame() {
        let points: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), f64::from(x * x))).collect();
        let series = vec![Series { name: "a < b & c".into(), points }];
        let svg = Chart { title: "t".into(), x: "seconds", y: "ms", series }.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.contains("a &lt; b &amp; c"));
        let line = svg.lines().find(|line| line.starts_with("<polyline")).unwrap();
        let coordinates =
            line.split('"').nth(1).unwrap().split([' ', ',']).map(|n| n.parse::<f64>().unwrap());
        assert!(coordinates.into_iter().all(|at| (0.0..=WIDTH).contains(&at)));
    }
}
