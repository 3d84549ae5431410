//! Draws rows on a time axis: bars with their durations, waits, and the critical path from row to row.
//!
//! In: rows and a scale. Out: shapes and texts in a [`Picture`]. Each row has one line of text on each side of its bar, so
//! no two texts overlap.

use std::collections::BTreeMap;

use super::picture::{Anchor, FONT, Picture, Shape, Text, WIDTH, fitted, width};
use super::rows::{Content, Row};
use super::story::{critical_path, label, main_part, wait_note};
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
    /// Whether the lanes are named, and the critical path is drawn.
    pub(super) is_overview: bool,
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
        if self.is_overview {
            self.draw_lanes(picture);
            self.draw_links(picture);
        }
        for (number, row) in self.rows.iter().enumerate() {
            let top = self.row_top(number);
            let indent = LABELS + INDENT * row.depth as f64;
            let text = fitted(&row.label, FONT, PLOT.0 - SPACE - indent);
            let class = if self.is_on_path(row) { "bold" } else { "" };
            picture.texts.push(Text::at(indent, baseline(top), class, text));
            match &row.content {
                Content::One(event) => self.draw_event(picture, top, event),
                Content::Many(events) => self.draw_many(picture, top, events),
            }
        }
    }

    fn row_top(&self, number: usize) -> f64 {
        self.top + ROW * number as f64
    }

    fn is_on_path(&self, row: &Row<'_>) -> bool {
        matches!(row.content, Content::One(event) if self.is_critical(event))
    }

    fn is_critical(&self, event: &Event) -> bool {
        let is_main_part = || {
            let parent = event.parent.as_ref().and_then(|parent| self.timeline.event(parent));
            parent.is_some_and(|parent| self.is_critical(parent) && main_part(self.timeline, parent).id == event.id)
        };
        self.is_overview && (self.timeline.critical_path.contains(&event.id) || is_main_part())
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

    /// A line from each event of the critical path to the next one, at the time at which the first ends.
    fn draw_links(&self, picture: &mut Picture) {
        let rows = self.rows.iter().enumerate();
        let middles: BTreeMap<&str, f64> = rows
            .filter_map(|(number, row)| match row.content {
                Content::One(event) => Some((event.id.as_str(), self.row_top(number) + ROW / 2.0)),
                Content::Many(_) => None,
            })
            .collect();
        for event in critical_path(self.timeline) {
            let Some(wait) = &event.waited_for else { continue };
            if let (Some(from), Some(to)) = (middles.get(wait.event.as_str()), middles.get(event.id.as_str())) {
                let x = self.scale.x(wait.until_us);
                picture.shapes.push(Shape::Line { from: (x, *from), to: (x, *to), class: "link" });
            }
        }
    }

    fn draw_event(&self, picture: &mut Picture, top: f64, event: &Event) {
        let is_critical = self.is_critical(event);
        let start = self.scale.x(event.start_us);
        let mut left = start;
        if let Some(wait) = event.waited_for.as_ref().filter(|_| is_critical) {
            let begun = self.scale.x(wait.until_us);
            if start - begun >= 1.0 {
                let about = wait_note(self.timeline, event).unwrap_or_default();
                picture.shapes.push(bar(begun, top, start - begun, "wait", about));
                left = begun;
            }
        }
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
        let note = wait_note(self.timeline, event).filter(|_| is_critical);
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

    /// Bars without texts. Those that would be at the same pixel are drawn once.
    fn draw_many(&self, picture: &mut Picture, top: f64, events: &[&Event]) {
        let mut drawn_to = f64::MIN;
        for event in events {
            let left = self.scale.x(event.start_us);
            let right = event.end_us.map_or(self.scale.right, |end| self.scale.x(end)).max(left + NARROWEST);
            if right >= drawn_to + 1.0 {
                picture.shapes.push(bar(left, top, right - left, "bar", about(event)));
                drawn_to = right;
            }
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
