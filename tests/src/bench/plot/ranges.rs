//! Panels of ranges on one logarithmic axis.

use std::time::Duration;

use super::{
    axis::Axis,
    svg::{Anchor, Svg},
};
use crate::bench::stats::{Summary, three_digits};

/// One line of a panel.
pub struct Range<'a> {
    pub name: &'a str,
    pub colour: &'a str,
    pub summary: Summary,
}

/// Ranges below a title.
pub struct Panel<'a> {
    pub title: &'a str,
    pub rows: Vec<Range<'a>>,
}

const WIDTH: f64 = 820.0;
const LEFT: f64 = 130.0;
/// Room for the figure behind the longest range.
const RIGHT: f64 = 80.0;
const TOP: f64 = 76.0;
const ROW: f64 = 26.0;
const GAP: f64 = 34.0;
const BOTTOM: f64 = 52.0;
const GRID: &str = "#e4e4e4";

/// Draws panels below each other, and a dashed line at a time to compare with.
pub fn draw(title: &str, panels: &[Panel<'_>], reference: Option<(&str, Duration)>) -> String {
    let rows = panels.iter().flat_map(|panel| &panel.rows);
    let times = rows.flat_map(|row| [row.summary.min, row.summary.p99]);
    let axis = Axis::around(times.chain(reference.map(|(_, time)| time)), (LEFT, WIDTH - RIGHT));
    let end = TOP + panels.iter().map(|panel| GAP + rows_height(panel)).sum::<f64>();
    let mut svg = Svg::new(WIDTH, end + BOTTOM);
    svg.text((16.0, 26.0), Anchor::Start, "title", title);
    grid(&mut svg, &axis, end);
    if let Some((name, time)) = reference {
        let x = axis.position(time);
        svg.dashes((x, TOP), (x, end), "#666");
        let label = format!("{name} {}", three_digits(time));
        svg.text((x, TOP - 6.0), Anchor::Middle, "note", &label);
    }
    let mut top = TOP;
    for panel in panels {
        draw_panel(&mut svg, &axis, panel, top);
        top += GAP + rows_height(panel);
    }
    let legend = "dot: p50 · bar: shortest to p90 · line: to p99";
    svg.text((16.0, 46.0), Anchor::Start, "note", legend);
    svg.finish()
}

fn rows_height(panel: &Panel<'_>) -> f64 {
    panel.rows.iter().map(|_| ROW).sum()
}

fn grid(svg: &mut Svg, axis: &Axis, end: f64) {
    for (x, label) in axis.ticks() {
        svg.line((x, TOP), (x, end), 1.0, GRID);
        svg.text((x, end + 18.0), Anchor::Middle, "", &label);
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    svg.text((middle, end + 38.0), Anchor::Middle, "note", "milliseconds, logarithmic");
}

fn draw_panel(svg: &mut Svg, axis: &Axis, panel: &Panel<'_>, top: f64) {
    svg.text((16.0, top + 20.0), Anchor::Start, "panel", panel.title);
    let mut y = top + GAP + ROW / 2.0 - 4.0;
    for row in &panel.rows {
        draw_range(svg, axis, row, y);
        y += ROW;
    }
}

fn draw_range(svg: &mut Svg, axis: &Axis, row: &Range<'_>, y: f64) {
    let Summary { min, p50, p90, p99, .. } = row.summary;
    let [min, middle, p90, p99] = [min, p50, p90, p99].map(|time| axis.position(time));
    svg.text((LEFT - 14.0, y + 4.5), Anchor::End, "", row.name);
    svg.line((p90, y), (p99, y), 2.0, row.colour);
    svg.line((min, y), (p90, y), 9.0, row.colour);
    svg.dot((middle, y), 7.0, "#fff");
    svg.dot((middle, y), 5.0, row.colour);
    let label = three_digits(p50);
    svg.text((p99 + 10.0, y + 4.5), Anchor::Start, "", &label);
}
