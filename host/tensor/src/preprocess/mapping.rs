//! Which rectangle of the source becomes which rectangle of the output. Pure.

use super::{Geometry, Preprocess};

/// The rectangle `source` is resized into the inner rectangle of the output, which
/// lies at `left`, `top`; what is around it is ground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mapping {
    /// Along the width, in pixels of the source.
    pub(crate) source_x: Stretch,
    /// Along the height.
    pub(crate) source_y: Stretch,
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) inner_width: usize,
    pub(crate) inner_height: usize,
    /// Of the output.
    pub(crate) width: usize,
    /// Of the output.
    pub(crate) height: usize,
}

/// A stretch of one side of the source, in pixels, between 0 and the side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) start: f64,
    pub(crate) length: f64,
}

impl Stretch {
    fn of(side: u32, start: f32, length: f32) -> Self {
        let side = f64::from(side);
        let start = f64::from(start).clamp(0.0, 1.0) * side;
        // A fraction of next to nothing still looks at something.
        let length = (f64::from(length) * side).min(side - start).max(1e-3);
        Self { start, length }
    }

    /// Its middle, `length` long.
    fn middle(self, length: f64) -> Self {
        let length = length.min(self.length);
        let start = self.start + (self.length - length) / 2.0;
        Self { start, length }
    }
}

impl Mapping {
    pub(crate) fn new(preprocess: &Preprocess, width: u32, height: u32) -> Self {
        let region = preprocess.region;
        let x = Stretch::of(width, region.x, region.width);
        let y = Stretch::of(height, region.y, region.height);
        match preprocess.geometry {
            Geometry::Natural => Self::filling(x, y, whole(x.length), whole(y.length)),
            Geometry::Stretch(width, height) => {
                Self::filling(x, y, width as usize, height as usize)
            }
            Geometry::Crop(width, height) => {
                let (wide, high) = (f64::from(width), f64::from(height));
                let scale = (wide / x.length).max(high / y.length);
                let (x, y) = (x.middle(wide / scale), y.middle(high / scale));
                Self::filling(x, y, width as usize, height as usize)
            }
            Geometry::Fit(width, height) => {
                let scale = inside(x, y, width, height).min(1.0);
                Self::filling(x, y, whole(x.length * scale), whole(y.length * scale))
            }
            Geometry::Letterbox(width, height, _) => {
                let scale = inside(x, y, width, height);
                let (width, height) = (width as usize, height as usize);
                let inner_width = whole(x.length * scale).min(width);
                let inner_height = whole(y.length * scale).min(height);
                Self {
                    left: (width - inner_width) / 2,
                    top: (height - inner_height) / 2,
                    width,
                    height,
                    ..Self::filling(x, y, inner_width, inner_height)
                }
            }
        }
    }

    fn filling(source_x: Stretch, source_y: Stretch, width: usize, height: usize) -> Self {
        Self {
            source_x,
            source_y,
            left: 0,
            top: 0,
            inner_width: width,
            inner_height: height,
            width,
            height,
        }
    }
}

/// The scale at which a region just fits into `width`×`height`.
fn inside(x: Stretch, y: Stretch, width: u32, height: u32) -> f64 {
    (f64::from(width) / x.length).min(f64::from(height) / y.length)
}

/// The nearest whole number of pixels, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths of sides of images are positive and far below 2^32"
)]
fn whole(length: f64) -> usize {
    length.round().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::*;

    fn size(geometry: Geometry, width: u32, height: u32) -> (usize, usize) {
        let preprocess = Preprocess {
            geometry,
            ..Preprocess::default()
        };
        let mapping = Mapping::new(&preprocess, width, height);
        (mapping.width, mapping.height)
    }

    #[test]
    fn each_geometry_gives_the_size_it_says() {
        assert_eq!(size(Geometry::Natural, 7, 5), (7, 5));
        assert_eq!(size(Geometry::Stretch(4, 9), 7, 5), (4, 9));
        assert_eq!(size(Geometry::Crop(4, 9), 7, 5), (4, 9));
        assert_eq!(size(Geometry::Letterbox(4, 9, [0; 3]), 7, 5), (4, 9));
        assert_eq!(size(Geometry::Fit(400, 400), 800, 200), (400, 100));
    }

    #[test]
    fn fit_never_makes_an_image_larger_and_never_makes_a_side_vanish() {
        assert_eq!(size(Geometry::Fit(400, 400), 30, 20), (30, 20));
        assert_eq!(size(Geometry::Fit(100, 100), 16_000, 3), (100, 1));
    }

    #[test]
    fn a_crop_takes_the_middle() {
        let preprocess = Preprocess {
            geometry: Geometry::Crop(10, 10),
            ..Preprocess::default()
        };
        let mapping = Mapping::new(&preprocess, 300, 100);
        let (start, length) = (100.0, 100.0);
        assert_eq!(mapping.source_x, Stretch { start, length });
        assert_eq!(mapping.source_y, Stretch { start: 0.0, length });
    }

    #[test]
    fn a_letterbox_stands_in_the_middle_of_its_ground() {
        let preprocess = Preprocess {
            geometry: Geometry::Letterbox(100, 100, [0; 3]),
            ..Preprocess::default()
        };
        let mapping = Mapping::new(&preprocess, 50, 25);
        assert_eq!((mapping.left, mapping.top), (0, 25));
        assert_eq!((mapping.inner_width, mapping.inner_height), (100, 50));
    }

    #[test]
    fn a_region_stays_within_the_image() {
        let preprocess = Preprocess {
            region: Region {
                x: 0.75,
                y: 1.0,
                width: 0.5,
                height: 0.5,
            },
            ..Preprocess::default()
        };
        let mapping = Mapping::new(&preprocess, 100, 100);
        let (x, y) = (mapping.source_x, mapping.source_y);
        assert!(x.start + x.length <= 100.0, "{x:?}");
        assert!(y.length > 0.0 && mapping.height == 1, "{y:?}");
    }
}
