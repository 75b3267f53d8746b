//! `results`: the writer that a detector fills.

use trommel_tensor::Tensor;
use wasmtime::component::Resource;

use super::super::bindings::trommel::detector::results::{Host, HostFindings};
use super::super::call::CallState;
use super::super::findings::broken;
use super::FindingsHandle;
use crate::signal::Evidence;

impl Host for CallState {}

impl CallState {
    fn evidence(&mut self, signal: u32, evidence: Evidence) -> wasmtime::Result<()> {
        self.hold(size_of::<Evidence>())?;
        let Self {
            writer,
            exhibit,
            detector,
            ..
        } = self;
        writer.evidence(signal, evidence, exhibit.item(), &detector.limits)?;
        Ok(())
    }
}

impl HostFindings for CallState {
    fn signal(
        &mut self,
        _: Resource<FindingsHandle>,
        label: String,
        score: f32,
    ) -> wasmtime::Result<u32> {
        self.carry(label.len())?;
        let Self {
            writer, detector, ..
        } = self;
        let declared = detector.labels.get(label.as_str());
        Ok(writer.signal(declared, &label, score, &detector.limits)?)
    }

    fn span(
        &mut self,
        _: Resource<FindingsHandle>,
        signal: u32,
        part: u32,
        start: u32,
        end: u32,
    ) -> wasmtime::Result<()> {
        self.evidence(signal, Evidence::Span { part, start, end })
    }

    fn region(
        &mut self,
        _: Resource<FindingsHandle>,
        signal: u32,
        part: u32,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
    ) -> wasmtime::Result<()> {
        self.evidence(
            signal,
            Evidence::Region {
                part,
                x,
                y,
                width,
                height,
            },
        )
    }

    fn note(
        &mut self,
        _: Resource<FindingsHandle>,
        signal: u32,
        text: String,
    ) -> wasmtime::Result<()> {
        self.carry(text.len())?;
        self.hold(text.len())?;
        self.evidence(signal, Evidence::Note { text })
    }

    fn embedding(
        &mut self,
        _: Resource<FindingsHandle>,
        name: String,
        value: Resource<Tensor>,
    ) -> wasmtime::Result<()> {
        self.carry(name.len())?;
        let tensor = self
            .table
            .get(&value)
            .map_err(|error| broken(error.to_string()))?
            .clone();
        let Self {
            writer, detector, ..
        } = self;
        writer.embedding(name, tensor, &detector.limits)?;
        Ok(())
    }

    fn drop(&mut self, _: Resource<FindingsHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
