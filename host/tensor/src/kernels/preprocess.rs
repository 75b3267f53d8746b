//! Images: from their bytes to a model's input in two kernels, down the columns and along
//! the rows.
//!
//! Unlike those of a plan these are not specialised: each photo has a size of its own, so
//! sizes and weights are data, and two shaders serve all. What they are told here is what
//! they trust: every index that follows from a [`Launch`] lies within its buffers.

use std::ops::Range;

use super::THREADS;
use crate::preprocess::{Geometry, Layout, Mapping, Preprocess, Taps};

/// The shader that makes sums of rows: see its head for what it is bound to.
pub(crate) const COLUMNS: &str = include_str!("preprocess_columns.wgsl");

/// The shader that makes the tensor of them.
pub(crate) const ROWS: &str = include_str!("preprocess_rows.wgsl");

/// Bytes of what a launch is told.
pub(crate) const LAUNCH_BYTES: usize = 4 * N_WORDS;
const N_WORDS: usize = 36;

/// Pixels of a side at most, of the image and of the tensor: within it, a thread that sums
/// a whole side is no long launch, and every place is counted in 32 bits.
const MAX_SIDE: usize = 65_535;

/// Bytes of a tensor at most, for the same reason.
const MAX_BYTES: u64 = 4 << 30;

/// Bytes of the source in one buffer; bindings have a limit, and large images pass it.
const SHEET_BYTES: usize = 16 << 20;

/// Bytes of sums at once; a tall output takes several turns.
const SUMS_BYTES: usize = 16 << 20;

/// Operations of one image at most, roughly, and samples that its launches sum one after
/// the other: a photo takes a hundredth of it. More would hold up everybody's runs until
/// the GPU counts as lost, and an absurd shape is all that it takes.
const MAX_OPERATIONS: u64 = 32_000_000_000;
const MAX_SAMPLES: u64 = 1 << 20;

const N_COLORS: usize = 3;

/// What one image may take of an adapter.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// Bytes of one buffer.
    pub(crate) buffer_bytes: u64,
    /// Bytes of all of them.
    pub(crate) image_bytes: u64,
    /// Operations of one launch, roughly.
    pub(crate) launch_operations: u64,
    /// Groups of one launch.
    pub(crate) launch_groups: u64,
    /// Launches of one image.
    pub(crate) launches: u64,
}

/// An image's way through both kernels: all of it but its buffers.
#[derive(Debug)]
pub(crate) struct ImageProgram {
    /// Columns of the source that go up.
    pub(crate) columns: Range<usize>,
    /// Rows of the source that go up, each sheet in a buffer of its own.
    pub(crate) sheets: Vec<Range<usize>>,
    /// Words of one row of a sheet; its last may be filled up.
    pub(crate) row_words: usize,
    /// For each row and column of the inner rectangle three words: its first source
    /// sample, the one after its last, and where its weights begin. Then the weights.
    pub(crate) taps: Vec<u32>,
    /// Bytes of the sums between the kernels.
    pub(crate) sums_bytes: u64,
    /// Bytes of the tensor.
    pub(crate) out_bytes: u64,
    /// In their order.
    pub(crate) launches: Vec<Launch>,
}

/// One launch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    /// The sheet whose rows it sums; none along the rows.
    pub(crate) sheet: Option<usize>,
    /// What its uniform buffer holds.
    pub(crate) words: [u32; N_WORDS],
    /// Groups.
    pub(crate) n_groups: u32,
}

impl ImageProgram {
    /// For an image of `width`×`height`, which becomes f32. The error says what does not
    /// fit into `room`.
    pub(crate) fn new(
        preprocess: &Preprocess,
        width: u32,
        height: u32,
        room: &Room,
    ) -> Result<Self, String> {
        let mapping = Mapping::new(preprocess, width, height);
        if mapping.width == 0 || mapping.height == 0 {
            return Err("the tensor has no pixel".to_owned());
        }
        let (width, height) = (width as usize, height as usize);
        let sides = [width, height, mapping.width, mapping.height];
        if let Some(side) = sides.into_iter().find(|side| *side > MAX_SIDE) {
            return Err(format!("a side of {side} pixels is over {MAX_SIDE}"));
        }
        let n_channels = preprocess.colors.n_channels();
        let out_bytes = 4 * (mapping.width * mapping.height * n_channels) as u64;
        within("the tensor", out_bytes, room.buffer_bytes.min(MAX_BYTES))?;
        let x = Taps::new(
            preprocess.filter,
            mapping.source_x,
            width,
            mapping.inner_width,
        );
        let y = Taps::new(
            preprocess.filter,
            mapping.source_y,
            height,
            mapping.inner_height,
        );
        let mut taps = y.words(0);
        let x_at = taps.len();
        taps.extend(x.words(x_at));
        let columns = x.span();
        let row_words = (columns.len() * N_COLORS).div_ceil(4);
        let sums_rows = (SUMS_BYTES / (16 * row_words)).clamp(1, mapping.inner_height);
        let sheets = sheets(y.span(), row_words);
        let program = Self {
            columns,
            sheets,
            row_words,
            sums_bytes: (16 * row_words * sums_rows) as u64,
            out_bytes,
            taps,
            launches: Vec::new(),
        };
        program.check(room)?;
        let mut launcher = Launcher {
            program: &program,
            room,
            launches: Vec::new(),
            n_operations: 0,
            n_samples: 0,
        };
        for first_row in (0..mapping.inner_height).step_by(sums_rows) {
            let rows = first_row..(first_row + sums_rows).min(mapping.inner_height);
            launcher.down_columns(&y, rows.clone())?;
            launcher.along_rows(preprocess, &mapping, &x, x_at, rows)?;
        }
        let launches = launcher.launches;
        Ok(Self {
            launches,
            ..program
        })
    }

    /// Bytes of the sheet `sheet`.
    pub(crate) fn sheet_bytes(&self, sheet: &Range<usize>) -> u64 {
        (sheet.len() * self.row_words * 4) as u64
    }

    fn check(&self, room: &Room) -> Result<(), String> {
        let taps = 4 * self.taps.len() as u64;
        within("the table of weights", taps, room.buffer_bytes)?;
        within("a row of the image", self.sums_bytes, room.buffer_bytes)?;
        let sheets = self.sheets.iter().map(|sheet| self.sheet_bytes(sheet));
        let sheets: u64 = sheets.sum();
        let all = sheets + taps + self.sums_bytes + self.out_bytes;
        within("the image with its tensor", all, room.image_bytes)
    }
}

fn within(what: &str, bytes: u64, most: u64) -> Result<(), String> {
    if bytes <= most {
        return Ok(());
    }
    Err(format!(
        "{what} takes {bytes} bytes, the GPU takes {most} at once"
    ))
}

/// The rows of the source, cut into sheets.
fn sheets(rows: Range<usize>, row_words: usize) -> Vec<Range<usize>> {
    let n_rows = (SHEET_BYTES / (4 * row_words)).max(1);
    let firsts = rows.clone().step_by(n_rows);
    firsts
        .map(|first| first..(first + n_rows).min(rows.end))
        .collect()
}

/// Writes launches down.
struct Launcher<'a> {
    program: &'a ImageProgram,
    room: &'a Room,
    launches: Vec<Launch>,
    n_operations: u64,
    n_samples: u64,
}

impl Launcher<'_> {
    /// Sums for the rows `rows` of the inner rectangle, sheet by sheet.
    fn down_columns(&mut self, taps: &Taps, rows: Range<usize>) -> Result<(), String> {
        let n_words = self.program.row_words;
        for (index, sheet) in self.program.sheets.iter().enumerate() {
            // Later rows look further down, so those that look at a sheet are neighbours.
            let looks = |row: &usize| {
                let source = taps.source(*row);
                source.start < sheet.end && sheet.start < source.end
            };
            let Some(first) = rows.clone().find(looks) else {
                continue;
            };
            let end = (first..rows.end).take_while(looks).count() + first;
            let most = (first..end).map(|row| taps.source(row).len()).max();
            let most = most.unwrap_or(0).min(sheet.len());
            let elements = (first - rows.start) * n_words..(end - rows.start) * n_words;
            let sizes = [n_words, rows.start, sheet.start, sheet.end, 0];
            self.parts(Some(index), elements, most, &sizes.map(word))?;
        }
        Ok(())
    }

    /// The output's pixels for the rows `rows` of the inner rectangle, and the ground
    /// above the first and below the last.
    fn along_rows(
        &mut self,
        preprocess: &Preprocess,
        mapping: &Mapping,
        taps: &Taps,
        taps_at: usize,
        rows: Range<usize>,
    ) -> Result<(), String> {
        let begin = match rows.start {
            0 => 0,
            row => mapping.top + row,
        };
        let end = match rows.end {
            row if row == mapping.inner_height => mapping.height,
            row => mapping.top + row,
        };
        let mixes = preprocess.colors.mixes();
        let n_pixels = mapping.width * mapping.height;
        let (channel_stride, pixel_stride) = match preprocess.layout {
            Layout::Nchw => (n_pixels, 1),
            Layout::Nhwc => (1, mixes.len()),
        };
        let sizes = [
            mapping.width,
            mapping.left,
            mapping.top,
            mapping.inner_width,
            mapping.inner_height,
            rows.start,
            4 * self.program.row_words,
            self.program.columns.start,
            taps_at,
            mixes.len(),
            channel_stride,
            pixel_stride,
        ];
        let ground = match preprocess.geometry {
            Geometry::Letterbox(_, _, ground) => ground.map(f32::from),
            _ => [0.0; N_COLORS],
        };
        let [red, green, blue] = ground;
        let [first, second, third] = preprocess.deviation;
        let mut numbers = vec![preprocess.scale, 0.0, red, green, blue, 0.0];
        numbers.extend([first, second, third, 1.0]);
        for ([red, green, blue], mean) in mixes.iter().zip(preprocess.mean) {
            numbers.extend([*red, *green, *blue, mean]);
        }
        let words: Vec<u32> = sizes
            .map(word)
            .into_iter()
            .chain(numbers.into_iter().map(f32::to_bits))
            .collect();
        let most = (0..mapping.inner_width).map(|column| taps.source(column).len());
        let elements = begin * mapping.width..end * mapping.width;
        self.parts(None, elements, most.max().unwrap_or(0), &words)
    }

    /// Launches for `elements`, each a sum of `n_samples`, so that none does too much.
    fn parts(
        &mut self,
        sheet: Option<usize>,
        elements: Range<usize>,
        n_samples: usize,
        told: &[u32],
    ) -> Result<(), String> {
        let operations = 8 * n_samples as u64 + 32;
        self.n_operations += operations * elements.len() as u64;
        if self.n_operations > MAX_OPERATIONS {
            return Err(format!("it takes more than {MAX_OPERATIONS} operations"));
        }
        let group_operations = THREADS * operations;
        let affordable = self.room.launch_operations / group_operations;
        let n_groups = affordable.clamp(1, self.room.launch_groups.max(1));
        let at_once = (n_groups * THREADS) as usize;
        for begin in elements.clone().step_by(at_once) {
            if self.launches.len() as u64 == self.room.launches {
                let most = self.room.launches;
                return Err(format!("it takes more than {most} launches"));
            }
            self.n_samples += n_samples as u64;
            if self.n_samples > MAX_SAMPLES {
                return Err("its shape leaves too little to do at once".to_owned());
            }
            let end = begin.saturating_add(at_once).min(elements.end);
            let mut words = [0; N_WORDS];
            words[0] = word(begin);
            words[1] = word(end);
            words[2..2 + told.len()].copy_from_slice(told);
            let n_groups = word((end - begin).div_ceil(THREADS as usize));
            self.launches.push(Launch {
                sheet,
                words,
                n_groups,
            });
        }
        Ok(())
    }
}

/// A count as shaders have it.
fn word(count: usize) -> u32 {
    u32::try_from(count).expect("sides and buffers are bounded so that counts fit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Filter;

    const ROOM: Room = Room {
        buffer_bytes: 128 << 20,
        image_bytes: 1 << 30,
        launch_operations: 2_000_000_000,
        launch_groups: 65_535,
        launches: 1 << 16,
    };

    fn program(geometry: Geometry, width: u32, height: u32) -> Result<ImageProgram, String> {
        let preprocess = Preprocess {
            geometry,
            ..Preprocess::default()
        };
        ImageProgram::new(&preprocess, width, height, &ROOM)
    }

    /// Elements that the launches of one kind make, in their order.
    fn made(program: &ImageProgram, sheet: Option<usize>) -> Vec<Range<u32>> {
        let launches = program.launches.iter().filter(|it| it.sheet == sheet);
        launches.map(|it| it.words[0]..it.words[1]).collect()
    }

    #[test]
    fn a_photo_goes_up_in_sheets_that_miss_no_row_and_repeat_none() {
        let program = program(Geometry::Stretch(224, 224), 4_000, 3_000).unwrap();
        assert_eq!(program.columns, 0..4_000);
        assert_eq!(program.sheets, [0..1_398, 1_398..2_796, 2_796..3_000]);
        assert_eq!(made(&program, None), vec![0..224 * 224]);
    }

    #[test]
    fn only_what_a_crop_looks_at_goes_up() {
        let program = program(Geometry::Crop(100, 100), 1_000, 200).unwrap();
        assert!(program.columns.start >= 398 && program.columns.end <= 602);
        assert_eq!(program.row_words, (program.columns.len() * 3).div_ceil(4));
    }

    #[test]
    fn a_tall_output_is_made_in_turns_that_cover_it_with_its_ground() {
        let geometry = Geometry::Letterbox(3_000, 2_250, [0; 3]);
        let program = program(geometry, 4_000, 2_000).unwrap();
        assert!(program.sums_bytes <= SUMS_BYTES as u64);
        let made = made(&program, None);
        assert!(made.len() > 2, "{made:?}");
        assert_eq!((made[0].start, made[made.len() - 1].end), (0, 6_750_000));
        assert!(made.windows(2).all(|two| two[0].end == two[1].start));
    }

    #[test]
    fn a_launch_does_no_more_than_it_may() {
        let preprocess = Preprocess {
            geometry: Geometry::Stretch(64, 64),
            filter: Filter::Box,
            ..Preprocess::default()
        };
        let room = Room {
            launch_operations: 100_000,
            ..ROOM
        };
        let program = ImageProgram::new(&preprocess, 640, 640, &room).unwrap();
        assert!(program.launches.len() > 10);
        // A box over ten pixels looks at ten.
        for launch in &program.launches {
            assert!(u64::from(launch.n_groups) * THREADS * (8 * 10 + 32) <= 100_000);
        }
        let room = Room {
            launches: 3,
            ..room
        };
        let error = ImageProgram::new(&preprocess, 640, 640, &room).unwrap_err();
        assert_eq!(error, "it takes more than 3 launches");
    }

    #[test]
    fn a_shape_that_would_hold_up_the_gpu_is_refused() {
        for (geometry, width, height, why) in [
            (Geometry::Stretch(1, 16_384), 65_535, 976, "its shape"),
            (Geometry::Stretch(600, 16_384), 65_535, 976, "it takes more"),
        ] {
            let preprocess = Preprocess {
                geometry,
                filter: Filter::Lanczos3,
                ..Preprocess::default()
            };
            let error = ImageProgram::new(&preprocess, width, height, &ROOM).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        for (width, height) in [(8_000, 8_000), (65_535, 976), (976, 65_535)] {
            for geometry in [Geometry::Crop(224, 224), Geometry::Stretch(1, 1)] {
                let program = program(geometry, width, height);
                assert!(
                    program.is_ok(),
                    "{width}×{height} {geometry:?}: {program:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_large_is_told_before_anything_is_made() {
        for (geometry, width, height, why) in [
            (Geometry::Stretch(0, 1), 1, 1, "the tensor has no pixel"),
            (Geometry::Natural, 70_000, 1, "a side of 70000 pixels"),
            (Geometry::Stretch(16_384, 16_384), 1, 1, "the tensor takes"),
            (Geometry::Natural, 8_000, 8_000, "the tensor takes"),
        ] {
            let error = program(geometry, width, height).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        let small = Room {
            image_bytes: 10 << 20,
            ..ROOM
        };
        let geometry = Geometry::Stretch(1, 1);
        let preprocess = Preprocess {
            geometry,
            ..Preprocess::default()
        };
        let error = ImageProgram::new(&preprocess, 2_000, 2_000, &small).unwrap_err();
        assert!(error.starts_with("the image with its tensor"), "{error}");
    }
}
