//! The summary as a picture: processor time of each program, as a multiple of nginx's.

use super::arm::{PEERS, is_governed, is_of_others};
use super::summary::{Group, hundredths};

const WIDTH: i64 = 880;
/// Where bars begin, and how long the longest may be.
const LEFT: i64 = 130;
const LONGEST: i64 = 650;
const BAR: i64 = 14;
const STEP: i64 = 19;
const TITLE: i64 = 30;
const SCALE: i64 = 34;
const TOP: i64 = 40;
const BOTTOM: i64 = 16;
/// What the scale begins with: less than anybody takes.
const LEAST: f64 = 0.5;
const MARKS: [i64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// For a page that is light or dark.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.name{text-anchor:end}.title{font-weight:600}\
.mark{fill:#6e7781;text-anchor:middle}.line{stroke:#d0d7de}.one{stroke:#6e7781}.proxy{fill:#8c959f}.peer{fill:#bc7a2d}\
.bare{fill:#5aa9e6}.governed{fill:#1f6fb2}\
@media(prefers-color-scheme:dark){text{fill:#d1d7e0}.mark{fill:#9198a1}.line{stroke:#3d444d}.one{stroke:#9198a1}\
.proxy{fill:#848d97}.peer{fill:#d29149}.bare{fill:#79c0ff}.governed{fill:#388bfd}}";

/// Bars on a logarithmic scale, since some take a hundred times what others do.
pub(super) fn draw(groups: &[Group]) -> String {
    let most =
        groups.iter().flat_map(|group| &group.rows).filter_map(|row| Some(row.ratio?.median)).max().unwrap_or(100);
    let end = MARKS.into_iter().find(|mark| mark * 100 >= most).unwrap_or(most / 100 + 1);
    let at =
        |ratio: f64| LEFT + (LONGEST as f64 * (ratio / LEAST).ln() / (end as f64 / LEAST).ln()).round().max(1.0) as i64;
    let marks: Vec<(i64, i64)> =
        MARKS.into_iter().filter(|mark| *mark <= end).map(|mark| (mark, at(mark as f64))).collect();
    let mut bars: String = marks
        .iter()
        .map(|(mark, x)| format!("<text class=\"mark\" x=\"{x}\" y=\"{SCALE}\">{mark} ×</text>\n"))
        .collect();
    let mut y = TOP;
    for group in groups {
        let rows = group.rows.iter().filter_map(|row| Some((row.arm, row.ratio?.median)));
        let rows: Vec<(&str, i64)> = rows.collect();
        if rows.is_empty() {
            continue;
        }
        bars.push_str(&format!("<text class=\"title\" x=\"4\" y=\"{}\">{}</text>\n", y + 20, group.profile.meaning));
        y += TITLE;
        let bottom = y + STEP * rows.len() as i64;
        bars.extend(marks.iter().map(|(mark, x)| line(*mark, *x, (y - 3, bottom))));
        for (arm, ratio) in rows {
            bars.push_str(&bar(arm, ratio, (at(ratio as f64 / 100.0), y)));
            y += STEP;
        }
    }
    let height = y + BOTTOM;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>Processor time of each program, as a multiple of nginx's</title>\n<style>{STYLE}</style>\n\
         <text x=\"4\" y=\"14\">Processor time, as a multiple of nginx's; the scale is logarithmic, and less is better</text>\n\
         {bars}</svg>\n"
    )
}

fn line(mark: i64, x: i64, (top, bottom): (i64, i64)) -> String {
    let class = if mark == 1 { "one" } else { "line" };
    format!("<line class=\"{class}\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>\n")
}

/// One bar, its name before it and its figure behind.
fn bar(arm: &str, ratio: i64, (to, y): (i64, i64)) -> String {
    let (class, text, figure) = (class(arm), y + 11, hundredths(ratio));
    let (name, width, behind) = (LEFT - 8, to - LEFT, to + 6);
    format!(
        "<text class=\"name\" x=\"{name}\" y=\"{text}\">{arm}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" \
         height=\"{BAR}\" rx=\"2\"/><text x=\"{behind}\" y=\"{text}\">{figure}</text>\n"
    )
}

fn class(arm: &str) -> &'static str {
    if PEERS.contains(&arm) {
        "peer"
    } else if is_of_others(arm) {
        "proxy"
    } else if is_governed(arm) {
        "governed"
    } else {
        "bare"
    }
}
