//! Series over the run, as SVG: a small panel each.

use super::{
    reading::{Group, float},
    series::Series,
    table::number,
};
use crate::bench::plot::svg::{Anchor, Svg};

const WIDTH: f64 = 820.0;
const COLUMNS: usize = 2;
const LEFT: f64 = 76.0;
const TOP: f64 = 62.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 44.0;
const GRID: &str = "#e4e4e4";
/// Colours that the colour-blind can distinguish (Okabe and Ito).
const FLAT: &str = "#0072b2";
const RISES: &str = "#d55e00";
/// By what part of its level an axis reaches above and below a series at least.
const ROOM: f64 = 0.05;

/// Draws the series of a group.
pub(super) fn draw<'a>(group: Group, series: impl Iterator<Item = &'a Series>) -> String {
    let series: Vec<_> = series.collect();
    let rows = series.len().div_ceil(COLUMNS);
    let mut svg = Svg::new(WIDTH, TOP + float(rows) * (PANEL + GAP));
    svg.text((16.0, 26.0), Anchor::Start, "title", &format!("Over the run: {}", group.name()));
    let legend = "by pairs of ADD and DEL · an axis reaches 5 % above and below its series, or \
                  further · dashed: the second half begins";
    svg.text((16.0, 46.0), Anchor::Start, "note", legend);
    for (number, series) in series.into_iter().enumerate() {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let width = WIDTH / float(COLUMNS);
        let corner = (float(column) * width + LEFT, TOP + float(row) * (PANEL + GAP));
        panel(&mut svg, corner, width - LEFT - 24.0, series);
    }
    svg.finish()
}

fn panel(svg: &mut Svg, (left, top): (f64, f64), width: f64, series: &Series) {
    let unit = if series.unit.is_empty() { String::new() } else { format!(", {}", series.unit) };
    let title = format!("{}{unit}", series.name);
    svg.text((left, top + 12.0), Anchor::Start, "panel", &title);
    let (top, bottom) = (top + 22.0, top + PANEL);
    let (low, high) = range(series);
    let y = |value: f64| bottom - (value - low) / (high - low) * (bottom - top);
    for value in [low, f64::midpoint(low, high), high] {
        svg.line((left, y(value)), (left + width, y(value)), 1.0, GRID);
        svg.text((left - 8.0, y(value) + 4.5), Anchor::End, "note", &number(value));
    }
    let last = series.points.last().map_or(1, |(pairs, _)| (*pairs).max(1));
    let x = |pairs: usize| left + float(pairs) / float(last) * width;
    let middle = series.points.get(series.points.len() / 2).map_or(0, |(pairs, _)| *pairs);
    svg.dashes((x(middle), top), (x(middle), bottom), "#999");
    for pairs in [0, middle, last] {
        svg.text((x(pairs), bottom + 14.0), Anchor::Middle, "note", &pairs.to_string());
    }
    let colour = if series.flat { FLAT } else { RISES };
    svg.polyline(series.points.iter().map(|(pairs, value)| (x(*pairs), y(*value))), colour);
}

/// What an axis shows.
fn range(series: &Series) -> (f64, f64) {
    let values = series.points.iter().map(|(_, value)| *value);
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let room = (f64::midpoint(low, high) * ROOM).max(f64::MIN_POSITIVE);
    let (below, above) = (f64::midpoint(low, high) - room, f64::midpoint(low, high) + room);
    if low == 0.0 && high == 0.0 { (0.0, 1.0) } else { (low.min(below), high.max(above)) }
}
