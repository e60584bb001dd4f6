//! Writing SVG.

use std::fmt::Write as _;

/// A drawing. Lengths are in pixels, from the left and from the top.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text's given point is.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, colour: &str) {
        self.stroke(from, to, width, colour, "");
    }

    pub fn dashes(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.stroke(from, to, 1.0, colour, r#" stroke-dasharray="4 3""#);
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), width: f64, colour: &str, more: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"{more}/>"#
        ));
    }

    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, colour: &str) {
        self.put(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}"/>"#));
    }

    /// A cloud of small, pale dots.
    pub fn cloud(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str) {
        let path = points.into_iter().fold(String::new(), |mut path, (x, y)| {
            let _ = write!(path, "M{x:.1} {y:.1}h0");
            path
        });
        self.put(format_args!(
            r#"<path d="{path}" stroke="{colour}" stroke-width="2.5" stroke-linecap="round" stroke-opacity="0.35"/>"#
        ));
    }

    pub fn polyline(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str) {
        let points = points.into_iter().fold(String::new(), |mut points, (x, y)| {
            let _ = write!(points, "{x:.1},{y:.1} ");
            points
        });
        self.put(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#
        ));
    }

    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = anchor.name();
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    /// The document. Its ground is white, also where the page around it is dark.
    pub fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<style>text {{ font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #222 }} .title {{ font-size: 16px; font-weight: 600 }} .panel {{ font-weight: 600 }} .note {{ font-size: 11px; fill: #666 }}</style>
<rect width="100%" height="100%" fill="#fff"/>
{body}</svg>
"##
        )
    }
}
