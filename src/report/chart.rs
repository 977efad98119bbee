//! Bars over time as inline SVG, named and described for who does not see them.

use super::html::Html;

/// Bars side by side, each of one part or of several on top of each other.
pub struct Chart<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    /// From left to right: what a bar is called, and its parts with their classes.
    pub bars: Vec<(String, Vec<(&'static str, f64)>)>,
    /// How a value is shown.
    pub unit: fn(f64) -> String,
    /// Values at which the axis may have its lines.
    pub steps: Steps,
}

/// What the scale of an axis is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    Decimal,
    /// Nothing between whole numbers.
    Whole,
    Seconds,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// A bar is no wider, however few there are.
const WIDEST: f64 = 28.0;

impl Chart<'_> {
    pub fn write(&self, html: &mut Html) {
        let (title, description) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        let frame = format!("0 0 {WIDTH} {HEIGHT}");
        let labelled = format!("{title} {description}");
        let attributes = [
            ("class", "chart"),
            ("id", self.id),
            ("role", "img"),
            ("viewBox", &*frame),
            ("aria-labelledby", &*labelled),
        ];
        html.element("svg", &attributes, |html| {
            html.words("title", &[("id", &title)], self.title);
            html.words("desc", &[("id", &description)], self.description);
            let most = self.bars.iter().map(|(_, parts)| sum(parts)).fold(0.0, f64::max);
            let (step, lines) = scale(most, self.steps);
            let top = step * f64::from(lines);
            self.grid(html, step, lines);
            self.draw(html, top);
            self.names(html);
        });
    }

    fn grid(&self, html: &mut Html, step: f64, lines: u32) {
        for line in 0..=lines {
            let value = step * f64::from(line);
            let y = point(height_of(value, step * f64::from(lines)));
            let class = if line == 0 { "axis" } else { "grid" };
            html.empty(
                "line",
                &[("class", class), ("x1", &point(LEFT)), ("x2", &point(WIDTH - RIGHT)), ("y1", &y), ("y2", &y)],
            );
            html.words(
                "text",
                &[("x", &point(LEFT - 5.0)), ("y", &y), ("dy", "0.32em"), ("text-anchor", "end")],
                &(self.unit)(value).replace(".0 ", " "),
            );
        }
    }

    fn draw(&self, html: &mut Html, top: f64) {
        let pitch = self.pitch();
        let width = (pitch * 0.8).min(WIDEST);
        for (place, (name, parts)) in self.bars.iter().enumerate() {
            let x = point(LEFT + pitch * place as f64 + (pitch - width) / 2.0);
            let mut base = 0.0;
            for (class, value) in parts.iter().filter(|(_, value)| *value > 0.0) {
                let (y, end) = (height_of(base + value, top), height_of(base, top));
                base += value;
                // A value that is there is seen.
                let height = point((end - y).max(1.0));
                let attributes = [
                    ("class", *class),
                    ("x", &*x),
                    ("y", &*point(y.min(end - 1.0))),
                    ("width", &*point(width)),
                    ("height", &*height),
                ];
                html.element("rect", &attributes, |html| {
                    html.words("title", &[], &format!("{name}: {}", (self.unit)(*value)));
                });
            }
        }
    }

    /// The first, the middle and the last bar are named.
    fn names(&self, html: &mut Html) {
        let last = self.bars.len().saturating_sub(1);
        let mut places = vec![(0, if last == 0 { "middle" } else { "start" })];
        if last >= 6 {
            places.push((last / 2, "middle"));
        }
        if last > 0 {
            places.push((last, "end"));
        }
        for (place, anchor) in places {
            let Some((name, _)) = self.bars.get(place) else { continue };
            let left = LEFT + self.pitch() * place as f64;
            let x = match anchor {
                "start" => left,
                "end" => left + self.pitch(),
                _ => left + self.pitch() / 2.0,
            };
            html.words("text", &[("x", &point(x)), ("y", &point(HEIGHT - 6.0)), ("text-anchor", anchor)], name);
        }
    }

    fn pitch(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / (self.bars.len().max(1) as f64)
    }
}

fn sum(parts: &[(&str, f64)]) -> f64 {
    parts.iter().map(|(_, value)| value).sum()
}

fn height_of(value: f64, top: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / top)
}

/// A place in the drawing, to a hundredth.
fn point(place: f64) -> String {
    let text = format!("{place:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The distance of the lines of an axis that goes to `most` at the least, and how many there are above zero.
fn scale(most: f64, steps: Steps) -> (f64, u32) {
    if most <= 0.0 {
        return (1.0, 1);
    }
    let rough = most / 3.0;
    let mut step = match steps {
        Steps::Seconds if rough > 1.0 => {
            const STEPS: [f64; 16] = [
                2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0,
                28_800.0, 43_200.0,
            ];
            STEPS.into_iter().find(|step| *step >= rough).unwrap_or_else(|| decimal(rough))
        }
        _ => decimal(rough),
    };
    if steps == Steps::Whole {
        step = step.max(1.0).ceil();
    }
    (step, (most / step).ceil().clamp(1.0, 4.0) as u32)
}

/// 1, 2 or 5 times a power of ten, not below.
fn decimal(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(rough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reaches_the_highest_bar_with_few_lines() {
        for steps in [Steps::Decimal, Steps::Whole, Steps::Seconds] {
            for most in [0.001, 0.3, 1.0, 2.0, 3.0, 7.0, 10.0, 99.0, 100.0, 3601.0, 86_400.0, 1e6, 1.5e6, 9e15] {
                let (step, lines) = scale(most, steps);
                assert!(step * f64::from(lines) >= most * 0.999_999, "{most}: {step} x {lines}");
                assert!((1..=4).contains(&lines), "{most}: {step} x {lines}");
                assert!(step * f64::from(lines) <= most * 4.0 || steps != Steps::Decimal, "{most}: {step} x {lines}");
            }
        }
        assert_eq!(scale(0.0, Steps::Decimal), (1.0, 1));
        assert_eq!(scale(2.0, Steps::Whole), (1.0, 2));
    }

    #[test]
    fn bars_stand_inside_the_frame_and_on_each_other() {
        let bars = vec![("a".to_owned(), vec![("good", 3.0), ("bad", 1.0)]), ("b".to_owned(), vec![("good", 0.0)])];
        let chart = Chart {
            id: "c",
            title: "t",
            description: "d",
            bars,
            unit: |value| format!("{value}"),
            steps: Steps::Whole,
        };
        let mut html = Html::default();
        chart.write(&mut html);
        let svg = html.finish();
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("role=\"img\"") && svg.contains("aria-labelledby=\"c-title c-desc\""));
        assert!(svg.contains("<title id=\"c-title\">t</title><desc id=\"c-desc\">d</desc>"));
    }
}
