//! Models of images and texts.

use super::images::trace_patches;
use crate::check::Result;
use crate::check::case::classes;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Named, Task, Traced};
use burn::tensor::Device;
use rekindle::backbone::{
    Backbone, ImageInput, ImageText, ImageTextConfig, PatchFeatures, Pooled, Pooling, TextFeatures, TextInput,
    TextTower, VisionTower, VisionTowerConfig,
};
use rekindle::checkpoint::Checkpoint;
use rekindle::head::{Classifier, Contrastive};

classes! {
    "CLIPModel" => With<ImageText, Contrastive>,
    "CLIPForImageClassification" => With<VisionTower, Classifier>,
    "CLIPVisionModel" => Body<VisionTower>,
    "SiglipModel" => With<ImageText, Contrastive>,
    "SiglipForImageClassification" => With<VisionTower, Classifier>,
    "SiglipVisionModel" => Body<VisionTower>,
}

impl Traced for ImageText {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<(ImageInput, TextInput)> {
        Ok((inputs.images(rows, device)?, inputs.text(rows, device)?))
    }

    fn trace(&self, (image, text): (ImageInput, TextInput)) -> (Named, (PatchFeatures, TextFeatures)) {
        let (images, image_features) = trace_patches(&self.image, image);
        let (texts, text_features) = trace_text(&self.text, text);
        let mut named = Named::new();
        let pooled = [image_features.pooled(), text_features.pooled()].map(Array::of);
        let towers = [("vision_model_output", images), ("text_model_output", texts)];
        for ((tower, states), pooled) in towers.into_iter().zip(pooled) {
            named.extend(states.into_iter().map(|(name, array)| (format!("{tower}.{name}"), array)));
            named.insert(format!("{tower}.pooler_output"), pooled);
        }
        (named, (image_features, text_features))
    }
}

impl Traced for VisionTower {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<ImageInput> {
        inputs.images(rows, device)
    }
    fn trace(&self, input: ImageInput) -> (Named, PatchFeatures) {
        let (mut named, features) = trace_patches(self, input);
        named.insert("pooler_output".into(), Array::of(features.pooled()));
        (named, features)
    }
    fn body_pooling(_: &VisionTowerConfig, _: &[String]) -> Pooling {
        Pooling::Pooler
    }
}

/// The state after embeddings and layers; the final norm's is `last_hidden_state` alone.
fn trace_text(tower: &TextTower, input: TextInput) -> (Named, TextFeatures) {
    let mut named = Named::new();
    let mut state = tower.embed(input);
    for (index, stage) in tower.stages().iter().enumerate() {
        if index > 0 {
            state = tower.stage(index, state);
        }
        if !stage.with_head {
            named.insert(format!("hidden_states.{index}"), Array::of(state.hidden.clone()));
        }
    }
    let features = tower.finish(state);
    named.insert("last_hidden_state".into(), Array::of(features.hidden.clone()));
    (named, features)
}

impl Task<ImageText> for Contrastive {
    fn fresh(_: &Checkpoint, config: &ImageTextConfig, device: &Device) -> Result<Self> {
        Ok(ImageText::contrastive(config, device))
    }
    fn has_targets(_: &Inputs) -> bool {
        true
    }
    fn targets(_: &Inputs, _: &[usize], _: &Device) -> Result<()> {
        Ok(())
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![
            ("logits_per_image", Array::of(output.logits.clone())),
            ("logits_per_text", Array::of(output.logits.transpose())),
            ("image_embeds", Array::of(output.images)),
            ("text_embeds", Array::of(output.texts)),
        ]
    }
}
