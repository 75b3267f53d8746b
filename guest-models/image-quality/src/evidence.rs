//! Where in an image a defect lies, from the graph's coarse maps.
//!
//! Pure. A defect that is everywhere is shown nowhere: the whole image is no
//! evidence that the score does not give already.

/// Cells along each side of a map.
pub const GRID: usize = 10;

/// Most rectangles for one label.
const MAX_REGIONS: usize = 3;

/// Cells of which more than this share have the defect are "everywhere".
const EVERYWHERE: f32 = 0.7;

/// The maps, `[5, GRID, GRID]` row-major, each value the mean of a cell:
/// strength of detail, strength of grain, share clipped bright, share clipped
/// dark, share flat.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps(pub Vec<f32>);

impl Maps {
    fn map(&self, at: usize) -> &[f32] {
        &self.0[at * GRID * GRID..][..GRID * GRID]
    }

    fn detail(&self) -> &[f32] {
        self.map(0)
    }

    fn grain(&self) -> &[f32] {
        self.map(1)
    }

    fn bright(&self) -> &[f32] {
        self.map(2)
    }

    fn dark(&self) -> &[f32] {
        self.map(3)
    }
}

/// A rectangle in fractions of a square or an image, origin top left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rectangle {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Rectangle {
    /// From fractions of the middle square to fractions of the image that it
    /// was cut from, whose sides are in pixels.
    #[must_use]
    pub fn within(self, width: u32, height: u32) -> Self {
        let short = width.min(height) as f32;
        let (across, down) = (short / width as f32, short / height as f32);
        let left = (1.0 - across) / 2.0 + self.x * across;
        let top = (1.0 - down) / 2.0 + self.y * down;
        Self {
            x: left.clamp(0.0, 1.0),
            y: top.clamp(0.0, 1.0),
            width: (self.width * across).min(1.0 - left),
            height: (self.height * down).min(1.0 - top),
        }
    }
}

/// The score of a label from which places are shown: a visible strength for
/// degradations. Infinite for labels of the image as a whole.
#[must_use]
pub fn shown_from(label: &str) -> f32 {
    match label {
        "blur" | "noise" | "exposure" => 0.3,
        _ => f32::INFINITY,
    }
}

/// The places of a label's defect, largest first.
#[must_use]
pub fn regions(label: &str, maps: &Maps) -> Vec<Rectangle> {
    let cells: Vec<bool> = match label {
        // Where there is clearly less detail than elsewhere in this image.
        "blur" => {
            let typical = median(maps.detail());
            maps.detail().iter().map(|x| *x < typical * 0.4).collect()
        }
        "noise" => {
            let typical = median(maps.grain());
            maps.grain().iter().map(|x| *x > typical * 1.8).collect()
        }
        "exposure" => {
            let clipped = maps.bright().iter().zip(maps.dark());
            clipped
                .map(|(bright, dark)| bright.max(*dark) > 0.5)
                .collect()
        }
        _ => return Vec::new(),
    };
    let n_with = cells.iter().filter(|with| **with).count();
    if n_with as f32 > EVERYWHERE * cells.len() as f32 {
        return Vec::new();
    }
    rectangles(cells)
}

fn median(values: &[f32]) -> f32 {
    let mut values = values.to_vec();
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// The largest rectangles of cells that all have the defect, of two cells at
/// least; none overlaps another.
fn rectangles(mut cells: Vec<bool>) -> Vec<Rectangle> {
    let mut found = Vec::new();
    while found.len() < MAX_REGIONS {
        let Some((left, top, width, height)) = largest(&cells) else {
            break;
        };
        for y in top..top + height {
            cells[y * GRID + left..][..width].fill(false);
        }
        let fraction = |n: usize| n as f32 / GRID as f32;
        found.push(Rectangle {
            x: fraction(left),
            y: fraction(top),
            width: fraction(width),
            height: fraction(height),
        });
    }
    found
}

fn largest(cells: &[bool]) -> Option<(usize, usize, usize, usize)> {
    let mut best = None;
    let mut most = 1;
    for top in 0..GRID {
        for left in 0..GRID {
            let mut width = GRID - left;
            for height in 1..=GRID - top {
                let row = &cells[(top + height - 1) * GRID + left..][..width];
                width = row.iter().take_while(|with| **with).count();
                if width * height > most {
                    most = width * height;
                    best = Some((left, top, width, height));
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps of one value each, but for some cells of one of them.
    fn maps(map: usize, value: f32, cells: &[(usize, usize)]) -> Maps {
        let mut all = vec![0.0; 5 * GRID * GRID];
        all[..2 * GRID * GRID].fill(1.0);
        for (x, y) in cells {
            all[map * GRID * GRID + y * GRID + x] = value;
        }
        Maps(all)
    }

    fn block() -> Vec<(usize, usize)> {
        let rows = 2..5;
        rows.flat_map(|y| (6..8).map(move |x| (x, y))).collect()
    }

    #[test]
    fn a_clipped_block_is_framed() {
        let found = regions("exposure", &maps(2, 0.9, &block()));
        let expected = Rectangle {
            x: 0.6,
            y: 0.2,
            width: 0.2,
            height: 0.3,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn blur_is_where_detail_is_missing_and_noise_where_grain_is_strong() {
        assert_eq!(regions("blur", &maps(0, 0.1, &block())).len(), 1);
        assert_eq!(regions("noise", &maps(1, 3.0, &block())).len(), 1);
        assert!(regions("blur", &maps(1, 3.0, &block())).is_empty());
    }

    #[test]
    fn what_is_everywhere_is_shown_nowhere() {
        let all: Vec<(usize, usize)> = (0..100).map(|at| (at % 10, at / 10)).collect();
        assert!(regions("exposure", &maps(3, 1.0, &all)).is_empty());
    }

    #[test]
    fn a_single_cell_is_no_place() {
        assert!(regions("exposure", &maps(2, 1.0, &[(4, 4)])).is_empty());
    }

    #[test]
    fn there_are_at_most_three_places_and_the_largest_is_first() {
        let cells: Vec<(usize, usize)> = (0..5)
            .flat_map(|row| (0..2 + row).map(move |x| (x, 2 * row)))
            .collect();
        let found = regions("exposure", &maps(2, 1.0, &cells));
        let widths: Vec<f32> = found.iter().map(|place| place.width).collect();
        assert_eq!(widths, [0.6, 0.5, 0.4]);
    }

    #[test]
    fn the_middle_square_of_a_wide_image_is_its_middle() {
        let whole = Rectangle {
            x: 0.0,
            y: 0.0,
            width: 1.0,
            height: 1.0,
        };
        let expected = Rectangle {
            x: 0.25,
            y: 0.0,
            width: 0.5,
            height: 1.0,
        };
        assert_eq!(whole.within(800, 400), expected);
    }
}
