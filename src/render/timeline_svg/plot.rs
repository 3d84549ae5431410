//! Draws rows on a time axis: bars with their durations, and the waits of the critical path.
//!
//! In: rows and a scale. Out: shapes and texts in a [`Picture`]. Each row has one line of text on each side of its bar, so
//! no two texts overlap.

use super::picture::{Anchor, FONT, Picture, Shape, Text, WIDTH, fitted, width};
use super::rows::{Content, Row};
use super::story::{label, wait_note};
use super::time::{Scale, duration};
use crate::timeline::{Event, Lane, Timeline};

/// Where the names of lanes, the labels of rows and the plot begin, and where the plot ends.
pub(super) const MARGIN: f64 = 16.0;
const LABELS: f64 = 120.0;
pub(super) const PLOT: (f64, f64) = (372.0, 906.0);
pub(super) const ROW: f64 = 22.0;
/// The distance between two texts, or between a text and a bar.
const SPACE: f64 = 8.0;
const BAR_HEIGHT: f64 = 13.0;
/// The narrowest bar.
const NARROWEST: f64 = 2.5;
const INDENT: f64 = 14.0;

/// Rows on a time axis.
pub(super) struct Plot<'p, 't> {
    pub(super) timeline: &'t Timeline,
    pub(super) rows: &'p [Row<'t>],
    pub(super) scale: Scale,
    /// The top of the first row.
    pub(super) top: f64,
    pub(super) kind: PlotKind,
}

/// What a plot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlotKind {
    /// The critical path.
    Path,
    /// What happened beside it.
    Beside,
    /// The steps of one command.
    Steps,
}

impl Plot<'_, '_> {
    /// The bottom of the last row.
    pub(super) fn bottom(&self) -> f64 {
        self.top + ROW * self.rows.len() as f64
    }

    /// Adds everything to a picture. The labels of the axis are above the rows.
    pub(super) fn draw(&self, picture: &mut Picture) {
        for (x, label) in self.scale.ticks() {
            let line = Shape::Line { from: (x, self.top - 4.0), to: (x, self.bottom()), class: "grid" };
            picture.shapes.push(line);
            picture.texts.push(Text::at(x, self.top - 8.0, "dim", label).anchored(Anchor::Middle));
        }
        if self.kind != PlotKind::Steps {
            self.draw_lanes(picture);
        }
        for (number, row) in self.rows.iter().enumerate() {
            let top = self.row_top(number);
            let indent = LABELS + INDENT * row.depth as f64;
            let text = fitted(&row.label, FONT, PLOT.0 - SPACE - indent);
            picture.texts.push(Text::at(indent, baseline(top), "", text));
            match &row.content {
                Content::One(event) => self.draw_event(picture, top, event),
                Content::Many(events) => self.draw_many(picture, top, events),
            }
        }
    }

    fn row_top(&self, number: usize) -> f64 {
        self.top + ROW * number as f64
    }

    /// The name of each lane, and a line above it.
    fn draw_lanes(&self, picture: &mut Picture) {
        let mut last = None;
        for (number, row) in self.rows.iter().enumerate() {
            if last.replace(row.lane) != Some(row.lane) {
                let top = self.row_top(number);
                picture.shapes.push(Shape::Line { from: (MARGIN, top), to: (WIDTH - MARGIN, top), class: "lane" });
                picture.texts.push(Text::at(MARGIN, baseline(top), "dim", lane_name(row.lane)).sized(FONT - 1.0));
            }
        }
    }

    fn draw_event(&self, picture: &mut Picture, top: f64, event: &Event) {
        let is_critical = self.kind == PlotKind::Path;
        let start = self.scale.x(event.start_us);
        let (mut left, note) = self.draw_wait(picture, top, event);
        let about = about(event);
        let (right, text) = match event.end_us {
            Some(end) if end == event.start_us => {
                let class = if is_critical { "path" } else { "bar" };
                let centre = (start, top + ROW / 2.0);
                picture.shapes.push(Shape::Diamond { centre, class, about });
                left = left.min(start - 6.0);
                (start + 6.0, format!("at {}", duration(event.start_us.saturating_sub(self.scale.first))))
            }
            Some(end) => {
                let wide = (self.scale.x(end) - start).max(NARROWEST);
                picture.shapes.push(bar(start, top, wide, if is_critical { "path" } else { "bar" }, about));
                (start + wide, duration(end.saturating_sub(event.start_us)))
            }
            None => {
                let wide = (self.scale.right - start).max(NARROWEST);
                picture.shapes.push(bar(start, top, wide, if is_critical { "path-open" } else { "open" }, about));
                (start + wide, "not ended".to_owned())
            }
        };
        self.write_beside(picture, top, (left, right), &text, note);
    }

    /// The text of an event right of its bar, and the note left of it, or else right of the text. A note that fits
    /// nowhere is left out.
    fn write_beside(
        &self,
        picture: &mut Picture,
        top: f64,
        (left, right): (f64, f64),
        text: &str,
        note: Option<String>,
    ) {
        let y = baseline(top);
        let beside = Text::at(right + SPACE, y, "", text);
        let free = beside.extent().1 + SPACE;
        picture.texts.push(beside);
        let Some(note) = note else { return };
        let wide = width(&note, FONT);
        if left - SPACE - wide >= PLOT.0 {
            picture.texts.push(Text::at(left - SPACE, y, "path-text", note).anchored(Anchor::End));
        } else if free + wide <= WIDTH - MARGIN {
            picture.texts.push(Text::at(free, y, "path-text", note));
        }
    }

    /// The time between the step before and this one. Returns its left end, and a note about it.
    fn draw_wait(&self, picture: &mut Picture, top: f64, event: &Event) -> (f64, Option<String>) {
        let start = self.scale.x(event.start_us);
        let Some(wait) = event.waited_for.as_ref().filter(|_| self.kind == PlotKind::Path) else {
            return (start, None);
        };
        let (begun, note) = (self.scale.x(wait.until_us), wait_note(self.timeline, event));
        if start - begun < 1.0 {
            return (start, note);
        }
        picture.shapes.push(bar(begun, top, start - begun, "wait", note.clone().unwrap_or_default()));
        (begun, note)
    }

    /// Bars without texts, but for the duration of all steps of the critical path. Those that would be at the same pixel are drawn once.
    fn draw_many(&self, picture: &mut Picture, top: f64, events: &[&Event]) {
        let mut drawn_to = f64::MIN;
        let is_path = self.kind == PlotKind::Path;
        let wait = events.first().filter(|_| is_path).map(|first| (first, self.draw_wait(picture, top, first)));
        for event in events {
            let left = self.scale.x(event.start_us);
            let right = event.end_us.map_or(self.scale.right, |end| self.scale.x(end)).max(left + NARROWEST);
            if right >= drawn_to + 1.0 {
                let class = if is_path { "path" } else { "bar" };
                picture.shapes.push(bar(left, top, right - left, class, about(event)));
                drawn_to = right;
            }
        }
        let end = events.iter().map(|event| event.end_us.unwrap_or(event.start_us)).max();
        if let (Some((first, (left, note))), Some(end)) = (wait, end) {
            self.write_beside(picture, top, (left, drawn_to), &duration(end.saturating_sub(first.start_us)), note);
        }
    }
}

fn bar(left: f64, top: f64, width: f64, class: &'static str, about: String) -> Shape {
    Shape::Bar { left, top: top + (ROW - BAR_HEIGHT) / 2.0, width, height: BAR_HEIGHT, class, about }
}

/// The baseline of the text of a row.
fn baseline(top: f64) -> f64 {
    top + ROW / 2.0 + FONT * 0.36
}

/// The text that is shown when the pointer is on an event.
fn about(event: &Event) -> String {
    let time = match event.end_us {
        Some(end) if end == event.start_us => format!("at {}", duration(event.start_us)),
        Some(end) => {
            let took = duration(end.saturating_sub(event.start_us));
            format!("from {} to {}: {took}", duration(event.start_us), duration(end))
        }
        None => format!("from {}, not ended", duration(event.start_us)),
    };
    format!("{}: {time} ({})", label(event), crate::redaction::line(&event.source))
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::System => "system",
        Lane::Network => "network",
        Lane::CloudInit => "cloud-init",
        Lane::Docker => "docker",
        Lane::Bootstrap => "ecs-bootstrap",
        Lane::Agent => "ECS agent",
        Lane::Task => "tasks",
    }
}
