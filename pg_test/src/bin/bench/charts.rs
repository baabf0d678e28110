//! Bar charts of what was measured, as SVG.

use std::path::PathBuf;
use std::sync::OnceLock;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

const WIDTH: i32 = 860;
const LABELS: i32 = 420;
const FIGURES: i32 = 90;
const TOP: i32 = 48;
const LINE: i32 = 26;
const BAR: RGBColor = RGBColor(51, 103, 145);

/// Has charts written to this folder from now on.
pub fn write_to(folder: PathBuf) {
    std::fs::create_dir_all(&folder).expect("a folder for the charts");
    FOLDER.set(folder).expect("one folder");
}

/// Draws a bar for each label, with the figure behind it as `written` has it; if charts are asked for.
pub fn draw(name: &str, title: &str, bars: &[(&str, f64)], written: fn(f64) -> String) {
    let Some(folder) = FOLDER.get() else { return };
    let path = folder.join(format!("{name}.svg"));
    let count = i32::try_from(bars.len()).expect("few bars");
    let size = [WIDTH, TOP + LINE * count + 12].map(|side| side.unsigned_abs());
    let area = SVGBackend::new(&path, (size[0], size[1])).into_drawing_area();
    area.fill(&WHITE).expect("an SVG");
    // The library makes letters of four fifths of the size.
    let text = |size: i32, h_pos, v_pos| ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(h_pos, v_pos));
    area.draw(&Text::new(title, (12, TOP / 2), text(21, HPos::Left, VPos::Center))).expect("a title");
    let largest = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    for (index, (label, value)) in (0..count).zip(bars) {
        let middle = TOP + LINE * index + LINE / 2;
        #[allow(clippy::cast_possible_truncation)] // It is a number of pixels.
        let length = (f64::from(WIDTH - LABELS - FIGURES) * value / largest) as i32;
        let bar = [(LABELS, middle - 8), (LABELS + length.max(1), middle + 8)];
        area.draw(&Text::new(*label, (LABELS - 8, middle), text(16, HPos::Right, VPos::Center))).expect("a label");
        area.draw(&Rectangle::new(bar, BAR.filled())).expect("a bar");
        let figure = (LABELS + length + 8, middle);
        area.draw(&Text::new(written(*value), figure, text(16, HPos::Left, VPos::Center))).expect("a figure");
    }
    area.present().expect("the chart is written");
}
