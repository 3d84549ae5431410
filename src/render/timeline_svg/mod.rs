//! Draws a timeline as an SVG picture: what the boot waited for, at one glance.
//!
//! In: a [`Timeline`]. Out: a standalone SVG document, 1000 pixels wide, in light and dark colours (the viewer's
//! `prefers-color-scheme` decides). Events that are missing are listed and not drawn.
//!
//! `story` says it in words, `rows` chooses what is drawn, `plot` draws it, and `picture` turns it into SVG.

mod picture;
mod plot;
mod rows;
mod story;
mod time;

#[cfg(test)]
mod tests;

use picture::{Anchor, FONT, Picture, Shape, Text, WIDTH, fitted, wrapped};
use plot::{MARGIN, PLOT, Plot, ROW};
use time::{Scale, duration};

use crate::redaction;
use crate::render::timeline::MAX_UNIX_US;
use crate::timeline::{Event, Timeline, id};

const LINE: f64 = 20.0;
/// The moments that are marked through all rows, and what they are called there.
const MILESTONES: [(&str, &str); 4] = [
    (id::REGISTERED, "registered"),
    (id::CONNECTED, "connected"),
    (id::REPORTED, "reported"),
    (id::FIRST_TASK, "first task"),
];

/// The picture of a timeline as SVG.
pub fn timeline_svg(timeline: &Timeline) -> String {
    picture(timeline).to_svg()
}

fn picture(timeline: &Timeline) -> Picture {
    let mut picture = Picture { title: story::title(timeline), ..Picture::default() };
    let mut y = draw_header(timeline, &mut picture);
    let milestones = milestones(timeline);
    let marks_top = y;
    y += LINE * (milestones.len() as f64 + 1.5);
    let rows = rows::all(timeline);
    let scale = Scale { first: 0, last: timeline.last_us(), left: PLOT.0, right: PLOT.1 };
    let overview = Plot { timeline, rows: &rows, scale, top: y, is_overview: true };
    draw_milestones(&mut picture, &milestones, &overview, marks_top);
    overview.draw(&mut picture);
    y = overview.bottom();
    for steps in rows::steps(timeline) {
        y = draw_steps(timeline, &steps, &mut picture, y);
    }
    y = draw_missing(timeline, &mut picture, y);
    picture.height = y + MARGIN;
    picture.description = description(&picture, timeline);
    picture
}

/// The title, the instance, the longest part and the legend. Returns the bottom.
fn draw_header(timeline: &Timeline, picture: &mut Picture) -> f64 {
    const TITLE: f64 = 18.0;
    let mut y = MARGIN + TITLE;
    let longest = WIDTH - 2.0 * MARGIN;
    picture.texts.push(Text::at(MARGIN, y, "bold", fitted(&picture.title, TITLE, longest)).sized(TITLE));
    y += LINE + 3.0;
    picture.texts.push(Text::at(MARGIN, y, "dim", fitted(&instance(timeline), FONT, longest)));
    let part = story::longest_part(timeline);
    let part = part.unwrap_or_else(|| "No step of the ECS agent was observed".to_owned());
    y += LINE + 3.0;
    picture.texts.push(Text::at(MARGIN, y, "path-text", fitted(&part, FONT + 2.0, longest)).sized(FONT + 2.0));
    y += LINE + 3.0;
    draw_legend(picture, y);
    y + 10.0
}

/// Instance type, AMI and the time of the origin.
fn instance(timeline: &Timeline) -> String {
    let instance = timeline.instance.iter().flat_map(|instance| [&instance.instance_type, &instance.image_id]);
    let mut parts: Vec<String> = instance.flatten().map(|part| redaction::line(part)).collect();
    let origin = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_micros(timeline.origin.unix_us));
    let origin = origin.filter(|_| timeline.origin.unix_us <= MAX_UNIX_US);
    let at = origin.map(|origin| humantime::format_rfc3339_seconds(origin).to_string().replace('T', " "));
    let at = at.map(|at| format!(", {} UTC", at.trim_end_matches('Z'))).unwrap_or_default();
    parts.push(format!("0 s is {}{at}", story::since(timeline)));
    parts.join(", ")
}

fn draw_legend(picture: &mut Picture, y: f64) {
    let mut x = MARGIN;
    for (class, text) in
        [("path", "the boot waited for this"), ("wait", "a wait that no event explains"), ("bar", "other work")]
    {
        let about = String::new();
        picture.shapes.push(Shape::Bar { left: x, top: y - 10.0, width: 22.0, height: 12.0, class, about });
        let text = Text::at(x + 28.0, y, "dim", text);
        x = text.extent().1 + 16.0;
        picture.texts.push(text);
    }
}

/// The milestones that happened, the last one first.
fn milestones(timeline: &Timeline) -> Vec<(&'static str, &Event)> {
    let found = MILESTONES.iter().filter_map(|(id, name)| timeline.event(id).map(|event| (*name, event)));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(_, event)| std::cmp::Reverse(event.start_us));
    found
}

/// A line through all rows for each milestone. The last one has the highest label, so no line crosses a label.
fn draw_milestones(picture: &mut Picture, milestones: &[(&str, &Event)], plot: &Plot<'_, '_>, top: f64) {
    for (number, (name, event)) in milestones.iter().enumerate() {
        let x = plot.scale.x(event.start_us);
        let y = top + LINE * (number as f64 + 1.0);
        let text = Text::at(x - 6.0, y, "milestone-text", format!("{name} {}", duration(event.start_us)));
        let text = text.anchored(Anchor::End);
        let is_inside = text.extent().0 >= MARGIN;
        let text = if is_inside { text } else { Text { x: x + 6.0, anchor: Anchor::Start, ..text } };
        picture.texts.push(text);
        picture.shapes.push(Shape::Line { from: (x, y - FONT), to: (x, plot.bottom()), class: "milestone" });
    }
}

/// A plot with a scale of its own for the stages and requests of a command. Returns the bottom.
fn draw_steps<'t>(timeline: &'t Timeline, steps: &rows::Steps<'t>, picture: &mut Picture, top: f64) -> f64 {
    let command = steps.command;
    let events = steps.rows.iter().flat_map(|row| match &row.content {
        rows::Content::One(event) => vec![*event],
        rows::Content::Many(events) => events.clone(),
    });
    let ends = events.chain([command]).map(|event| event.end_us.unwrap_or(event.start_us));
    let last = ends.max().unwrap_or_default().max(command.start_us);
    let title = format!("{} in detail, from {}", story::label(command), duration(command.start_us));
    let y = top + LINE * 1.6;
    picture.texts.push(Text::at(MARGIN, y, "bold", fitted(&title, FONT, WIDTH - 2.0 * MARGIN)));
    let scale = Scale { first: command.start_us, last, left: PLOT.0, right: PLOT.1 };
    let plot = Plot { timeline, rows: &steps.rows, scale, top: y + LINE * 1.5, is_overview: false };
    plot.draw(picture);
    plot.bottom()
}

/// The missing events with the reasons. Returns the bottom.
fn draw_missing(timeline: &Timeline, picture: &mut Picture, top: f64) -> f64 {
    /// The most missing events with a line of their own.
    const MOST: usize = 24;
    if timeline.missing.is_empty() {
        return top;
    }
    let mut y = top + LINE * 1.6;
    picture.texts.push(Text::at(MARGIN, y, "bold", "Not drawn, because it is not known"));
    let lines = timeline
        .missing
        .iter()
        .take(MOST)
        .map(|missing| redaction::line(&format!("{}: {}", missing.label, missing.reason)));
    let more = timeline.missing.len().saturating_sub(MOST);
    let more = (more > 0).then(|| format!("{more} more"));
    for text in lines.chain(more) {
        for line in wrapped(&text, FONT, WIDTH - 2.0 * MARGIN, 3) {
            y += LINE;
            picture.texts.push(Text::at(MARGIN, y, "dim", line));
        }
    }
    y + ROW / 2.0
}

/// The picture in words.
fn description(picture: &Picture, timeline: &Timeline) -> String {
    let path = story::critical_path(timeline).into_iter();
    let path = path.map(|event| match event.duration_us() {
        Some(us) if us > 0 => format!("{} ({})", story::label(event), duration(us)),
        _ => format!("{} at {}", story::label(event), duration(event.start_us)),
    });
    let part = story::longest_part(timeline).map(|part| format!(". {part}")).unwrap_or_default();
    let path: Vec<_> = path.collect();
    format!("{}{part}. The boot waited for, in this order: {}", picture.title, path.join(", "))
}
