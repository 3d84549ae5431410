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

use picture::{FONT, Picture, Shape, Text, WIDTH, fitted, wrapped};
use plot::{MARGIN, PLOT, Plot, PlotKind, ROW};
use time::{Scale, duration};

use crate::redaction;
use crate::render::timeline::{MAX_UNIX_US, since};
use crate::timeline::Timeline;

const LINE: f64 = 20.0;
/// The picture of a timeline as SVG.
pub fn timeline_svg(timeline: &Timeline) -> String {
    picture(timeline).to_svg()
}

fn picture(timeline: &Timeline) -> Picture {
    let mut picture = Picture { title: story::title(timeline), ..Picture::default() };
    let mut y = draw_header(timeline, &mut picture);
    let scale = Scale { first: 0, last: timeline.last_us(), left: PLOT.0, right: PLOT.1 };
    let path = rows::path(timeline);
    let beside = rows::beside(timeline, &path);
    for (kind, rows, title) in [
        (
            PlotKind::Path,
            &path,
            "What the boot waited for, step by step (an indented row is a part of the row above it)",
        ),
        (PlotKind::Beside, &beside, "Meanwhile: what else happened; it may have slowed the steps above"),
    ] {
        let plot = Plot { timeline, rows, scale, top: y + LINE * 3.1, kind };
        if !rows.is_empty() {
            picture.texts.push(Text::at(MARGIN, y + LINE * 1.6, "bold", title));
            plot.draw(&mut picture);
            y = plot.bottom();
        }
    }
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
    draw_legend(timeline, picture, y);
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
    parts.push(format!("0 s is {}{at}", since(timeline)));
    parts.join(", ")
}

fn draw_legend(timeline: &Timeline, picture: &mut Picture, y: f64) {
    let is_open = timeline.events.iter().any(|event| event.end_us.is_none());
    let mut x = MARGIN;
    for (class, text) in [
        ("path", "a step that the boot waited for"),
        ("wait", "the time between two steps"),
        ("bar", "anything else"),
        ("moment", "a moment"),
        ("open", "not ended"),
    ] {
        let about = String::new();
        match class {
            "open" if !is_open => continue,
            "moment" => picture.shapes.push(Shape::Diamond { centre: (x + 11.0, y - 4.0), class: "bar", about }),
            _ => picture.shapes.push(Shape::Bar { left: x, top: y - 10.0, width: 22.0, height: 12.0, class, about }),
        }
        let text = Text::at(x + 28.0, y, "dim", text);
        x = text.extent().1 + 16.0;
        picture.texts.push(text);
    }
}

/// A plot with a scale of its own for the stages and requests of a command. Returns the bottom.
fn draw_steps<'t>(timeline: &'t Timeline, steps: &rows::Steps<'t>, picture: &mut Picture, top: f64) -> f64 {
    let command = steps.command;
    let events = steps.rows.iter().flat_map(|row| row.content.events());
    let ends = events.chain([command]).map(|event| event.end_us.unwrap_or(event.start_us));
    let last = ends.max().unwrap_or_default().max(command.start_us);
    let title = format!("{} in detail, from {}", story::label(command), duration(command.start_us));
    let y = top + LINE * 1.6;
    picture.texts.push(Text::at(MARGIN, y, "bold", fitted(&title, FONT, WIDTH - 2.0 * MARGIN)));
    let scale = Scale { first: command.start_us, last, left: PLOT.0, right: PLOT.1 };
    let plot = Plot { timeline, rows: &steps.rows, scale, top: y + LINE * 1.5, kind: PlotKind::Steps };
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
