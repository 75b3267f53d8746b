//! `content`: the item, read-only.

use trommel_tensor::{Dtype, Tensor};
use wasmtime::component::Resource;

use super::super::Blame;
use super::super::bindings::trommel::detector::content::{Host, HostItem};
use super::super::call::CallState;
use super::{Answer, ImageHandle, ItemHandle, unknown_name};
use crate::item::{Attribute, Content, Item, Part, PartKind};

impl Host for CallState {}

impl CallState {
    fn part_ids(&self, kind: PartKind) -> wasmtime::Result<Vec<u32>> {
        Ok(self.item().part_ids(kind).collect())
    }

    /// What `read` finds in part `part`, or `unknown-name`.
    fn of_part(
        &mut self,
        part: u32,
        wanted: &str,
        read: impl Fn(&Part) -> Option<String>,
    ) -> Answer<String> {
        match self.item().part(part).and_then(read) {
            Some(found) => Ok(Ok(found)),
            None => {
                let n_parts = self.item().parts.len();
                let what = format!("part {part} is no {wanted}; the item has {n_parts} parts");
                self.decline(unknown_name(what, &part.to_string()), Blame::Guest)
            }
        }
    }

    fn attribute<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Attribute) -> Option<T>,
    ) -> wasmtime::Result<Option<T>> {
        self.carry(name.len())?;
        Ok(self.item().attributes.get(name).and_then(read))
    }
}

impl HostItem for CallState {
    fn id(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<String> {
        Ok(self.item().id.clone())
    }

    fn received_at(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Option<u64>> {
        Ok(self.item().received_at_ms)
    }

    fn texts(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Vec<u32>> {
        self.part_ids(PartKind::Text)
    }

    fn images(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Vec<u32>> {
        self.part_ids(PartKind::Image)
    }

    fn links(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Vec<u32>> {
        self.part_ids(PartKind::Link)
    }

    fn text(&mut self, _: Resource<ItemHandle>, part: u32) -> Answer<String> {
        self.of_part(part, "text", |part| match &part.content {
            Content::Text { text, .. } => Some(text.clone()),
            _ => None,
        })
    }

    fn link(&mut self, _: Resource<ItemHandle>, part: u32) -> Answer<String> {
        self.of_part(part, "link", |part| match &part.content {
            Content::Link { target } => Some(target.clone()),
            _ => None,
        })
    }

    fn image(&mut self, _: Resource<ItemHandle>, part: u32) -> Answer<Resource<ImageHandle>> {
        match self.exhibit.header(part) {
            Some(Ok((header, n_bytes))) => self.hand_out(ImageHandle {
                part,
                header,
                n_bytes,
            }),
            Some(Err(fault)) => Err(fault.into()),
            None => {
                let n_parts = self.item().parts.len();
                let what = format!("part {part} is no image; the item has {n_parts} parts");
                self.decline(unknown_name(what, &part.to_string()), Blame::Guest)
            }
        }
    }

    fn part_name(&mut self, _: Resource<ItemHandle>, part: u32) -> Answer<String> {
        self.of_part(part, "part", |part| Some(part.name.clone()))
    }

    fn language(&mut self, _: Resource<ItemHandle>, part: u32) -> wasmtime::Result<Option<String>> {
        let language = |part: &Part| match &part.content {
            Content::Text { language, .. } => language.clone(),
            _ => None,
        };
        Ok(self.item().part(part).and_then(language))
    }

    fn attributes(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.item().attributes.keys().cloned().collect())
    }

    fn attribute_text(
        &mut self,
        _: Resource<ItemHandle>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        self.attribute(&name, |value| match value {
            Attribute::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn attribute_integer(
        &mut self,
        _: Resource<ItemHandle>,
        name: String,
    ) -> wasmtime::Result<Option<i64>> {
        self.attribute(&name, |value| match value {
            Attribute::Integer(integer) => Some(*integer),
            _ => None,
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the contract says: the nearest f64"
    )]
    fn attribute_number(
        &mut self,
        _: Resource<ItemHandle>,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.attribute(&name, |value| match value {
            Attribute::Number(number) => Some(*number),
            Attribute::Integer(integer) => Some(*integer as f64),
            _ => None,
        })
    }

    fn attribute_flag(
        &mut self,
        _: Resource<ItemHandle>,
        name: String,
    ) -> wasmtime::Result<Option<bool>> {
        self.attribute(&name, |value| match value {
            Attribute::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    fn embeddings(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.item().embeddings.keys().cloned().collect())
    }

    fn embedding(&mut self, _: Resource<ItemHandle>, name: String) -> Answer<Resource<Tensor>> {
        self.carry(name.len())?;
        let Some(bytes) = embedding_bytes(self.item(), &name) else {
            let n_embeddings = self.item().embeddings.len();
            let what =
                format!("the item came without this embedding; it has {n_embeddings} others");
            return self.decline(unknown_name(what, &name), Blame::Guest);
        };
        self.upload(Dtype::F32, &[bytes.len() / size_of::<f32>()], &bytes)
    }

    fn drop(&mut self, _: Resource<ItemHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn embedding_bytes(item: &Item, name: &str) -> Option<Vec<u8>> {
    let numbers = item.embeddings.get(name)?;
    Some(
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect(),
    )
}
