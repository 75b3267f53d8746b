//! `images`: images behind handles, and how they become tensors.

use trommel_tensor as tensor;
use trommel_tensor::Tensor;
use trommel_tensor::preprocess::{self as preprocessing, Geometry};
use wasmtime::component::Resource;

use super::super::bindings::trommel::detector::images::{
    Colors, Filter, Format, Host, HostImage, HostPreprocess, Layout,
};
use super::super::bindings::trommel::detector::tensors::Dtype;
use super::super::call::{CallState, until};
use super::super::decoder::ImageError;
use super::super::findings::broken;
use super::super::{Blame, Failure, Fault};
use super::tensors::dtype_of;
use super::{Answer, ImageHandle, PreprocessHandle};
use crate::decode::ImageFormat;

impl Host for CallState {}

impl CallState {
    fn image(&self, handle: &Resource<ImageHandle>) -> wasmtime::Result<&ImageHandle> {
        Ok(self
            .table
            .get(handle)
            .map_err(|error| broken(error.to_string()))?)
    }

    /// Changes a preprocess, within the deadline: setters are host calls too.
    fn set(
        &mut self,
        handle: &Resource<PreprocessHandle>,
        change: impl FnOnce(&mut tensor::Preprocess),
    ) -> wasmtime::Result<()> {
        self.carry(size_of::<tensor::Preprocess>())?;
        let how = self.table.get_mut(handle);
        change(&mut how.map_err(|error| broken(error.to_string()))?.0);
        Ok(())
    }

    fn size(
        &mut self,
        handle: &Resource<PreprocessHandle>,
        (width, height): (u32, u32),
        geometry: Geometry,
    ) -> wasmtime::Result<()> {
        let most = Geometry::MAX_SIDE;
        if ![width, height].iter().all(|side| (1..=most).contains(side)) {
            return Err(broken(format!(
                "asks for an image of {width}×{height}; each side is from 1 to {most}"
            ))
            .into());
        }
        self.set(handle, |how| how.geometry = geometry)
    }
}

impl HostImage for CallState {
    fn width(&mut self, handle: Resource<ImageHandle>) -> wasmtime::Result<u32> {
        Ok(self.image(&handle)?.header.width)
    }

    fn height(&mut self, handle: Resource<ImageHandle>) -> wasmtime::Result<u32> {
        Ok(self.image(&handle)?.header.height)
    }

    fn format(&mut self, handle: Resource<ImageHandle>) -> wasmtime::Result<Format> {
        Ok(match self.image(&handle)?.header.format {
            ImageFormat::Jpeg => Format::Jpeg,
            ImageFormat::Png => Format::Png,
            ImageFormat::Gif => Format::Gif,
            ImageFormat::Webp => Format::Webp,
            ImageFormat::Bmp => Format::Bmp,
        })
    }

    fn bytes(&mut self, handle: Resource<ImageHandle>) -> wasmtime::Result<u64> {
        Ok(self.image(&handle)?.n_bytes as u64)
    }

    async fn to_tensor(
        &mut self,
        handle: Resource<ImageHandle>,
        how: Resource<PreprocessHandle>,
    ) -> Answer<Resource<Tensor>> {
        let &ImageHandle { part, header, .. } = self.image(&handle)?;
        let how = self.table.get(&how);
        let how = how.map_err(|error| broken(error.to_string()))?.0.clone();
        let (exhibit, account, by) = (self.exhibit.clone(), self.tensors.clone(), self.deadline());
        let tensor = exhibit.tensor(part, header, &how, &account);
        let tensor = until(by, tensor, self.timed_out("an image to be decoded")).await?;
        let tensor = match tensor {
            Ok(tensor) => Ok(tensor),
            Err(ImageError::Tensor(error)) => Err(error),
            Err(ImageError::Decode(error)) => {
                let failure = Failure {
                    code: "invalid-content".to_owned(),
                    what: error.to_string(),
                    place: format!("part {part}"),
                    hint: String::new(),
                };
                return self.decline(failure, Blame::Caller);
            }
        };
        match self.answer(tensor)? {
            Ok(tensor) => self.hand_out(tensor),
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn drop(&mut self, handle: Resource<ImageHandle>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

impl HostPreprocess for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<PreprocessHandle>> {
        let how = PreprocessHandle(tensor::Preprocess::default());
        // A constructor has no failure to answer.
        let most = self.limits().handles;
        let pushed = self.table.push(how);
        Ok(pushed.map_err(|_| broken(format!("holds more than {most} handles, its limit")))?)
    }

    fn stretch(
        &mut self,
        handle: Resource<PreprocessHandle>,
        width: u32,
        height: u32,
    ) -> wasmtime::Result<()> {
        self.size(&handle, (width, height), Geometry::Stretch(width, height))
    }

    fn crop(
        &mut self,
        handle: Resource<PreprocessHandle>,
        width: u32,
        height: u32,
    ) -> wasmtime::Result<()> {
        self.size(&handle, (width, height), Geometry::Crop(width, height))
    }

    fn fit(
        &mut self,
        handle: Resource<PreprocessHandle>,
        width: u32,
        height: u32,
    ) -> wasmtime::Result<()> {
        self.size(&handle, (width, height), Geometry::Fit(width, height))
    }

    fn letterbox(
        &mut self,
        handle: Resource<PreprocessHandle>,
        width: u32,
        height: u32,
        red: u8,
        green: u8,
        blue: u8,
    ) -> wasmtime::Result<()> {
        let geometry = Geometry::Letterbox(width, height, [red, green, blue]);
        self.size(&handle, (width, height), geometry)
    }

    fn region(
        &mut self,
        handle: Resource<PreprocessHandle>,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
    ) -> wasmtime::Result<()> {
        // What is no number is in no range.
        let is_within = |start: f32, length: f32| {
            (0.0..=1.0).contains(&start) && length > 0.0 && start + length <= 1.0
        };
        if !is_within(x, width) || !is_within(y, height) {
            return Err(broken(format!(
                "looks at the region {x}, {y}, {width}, {height}, which is empty or not within the image"
            ))
            .into());
        }
        let region = preprocessing::Region {
            x,
            y,
            width,
            height,
        };
        self.set(&handle, |how| how.region = region)
    }

    fn filter(
        &mut self,
        handle: Resource<PreprocessHandle>,
        filter: Filter,
    ) -> wasmtime::Result<()> {
        let filter = match filter {
            Filter::Nearest => preprocessing::Filter::Nearest,
            Filter::Box => preprocessing::Filter::Box,
            Filter::Triangle => preprocessing::Filter::Triangle,
            Filter::Hamming => preprocessing::Filter::Hamming,
            Filter::CatmullRom => preprocessing::Filter::CatmullRom,
            Filter::Mitchell => preprocessing::Filter::Mitchell,
            Filter::Lanczos3 => preprocessing::Filter::Lanczos3,
        };
        self.set(&handle, |how| how.filter = filter)
    }

    fn colors(
        &mut self,
        handle: Resource<PreprocessHandle>,
        colors: Colors,
    ) -> wasmtime::Result<()> {
        let colors = match colors {
            Colors::Rgb => preprocessing::Colors::Rgb,
            Colors::Bgr => preprocessing::Colors::Bgr,
            Colors::Gray => preprocessing::Colors::Gray,
        };
        self.set(&handle, |how| how.colors = colors)
    }

    fn scale(&mut self, handle: Resource<PreprocessHandle>, scale: f32) -> wasmtime::Result<()> {
        check_numbers("scale", &[scale], f32::is_finite)?;
        self.set(&handle, |how| how.scale = scale)
    }

    fn mean(&mut self, handle: Resource<PreprocessHandle>, mean: Vec<f32>) -> wasmtime::Result<()> {
        let mean = by_channel("mean", &mean, f32::is_finite)?;
        self.set(&handle, |how| how.mean = mean)
    }

    fn deviation(
        &mut self,
        handle: Resource<PreprocessHandle>,
        deviation: Vec<f32>,
    ) -> wasmtime::Result<()> {
        let deviation = by_channel("deviation", &deviation, f32::is_normal)?;
        self.set(&handle, |how| how.deviation = deviation)
    }

    fn layout(
        &mut self,
        handle: Resource<PreprocessHandle>,
        layout: Layout,
    ) -> wasmtime::Result<()> {
        let layout = match layout {
            Layout::Nchw => preprocessing::Layout::Nchw,
            Layout::Nhwc => preprocessing::Layout::Nhwc,
        };
        self.set(&handle, |how| how.layout = layout)
    }

    fn dtype(&mut self, handle: Resource<PreprocessHandle>, dtype: Dtype) -> wasmtime::Result<()> {
        let dtype = dtype_of(dtype);
        if !tensor::Preprocess::DTYPES.contains(&dtype) {
            return Err(broken(format!(
                "wants an image as {dtype}; f32, f16 and u8 can be had"
            ))
            .into());
        }
        self.set(&handle, |how| how.dtype = dtype)
    }

    fn drop(&mut self, handle: Resource<PreprocessHandle>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

fn check_numbers(what: &str, numbers: &[f32], is_good: fn(f32) -> bool) -> Result<(), Fault> {
    match numbers.iter().find(|number| !is_good(**number)) {
        Some(number) => Err(broken(format!("sets the {what} of an image to {number}"))),
        None => Ok(()),
    }
}

/// One number for all channels, or one for each.
fn by_channel(what: &str, numbers: &[f32], is_good: fn(f32) -> bool) -> Result<[f32; 3], Fault> {
    check_numbers(what, numbers, is_good)?;
    match *numbers {
        [one] => Ok([one; 3]),
        [first, second, third] => Ok([first, second, third]),
        _ => Err(broken(format!(
            "gives {} numbers as the {what} of an image; give 1 or 3",
            numbers.len()
        ))),
    }
}
