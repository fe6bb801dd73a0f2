//! The `Dense` modules of sentence-transformers' folders.

use super::apply::{load_mapped, mapped};
use super::card::unsupported;
use super::pretrained::read_json;
use super::save::write_json;
use super::write::save_tensors;
use super::{CheckpointError, KeyMap, Tensors};
use crate::head::Projection;
use crate::nn::Activation;
use burn::tensor::Device;
use serde_json::{Value, json};
use std::path::Path;

/// PyTorch's modules, which files name with their whole path.
const ACTIVATIONS: [(Activation, &str, &str); 9] = [
    (Activation::Tanh, "activation", "Tanh"),
    (Activation::Linear, "linear", "Identity"),
    (Activation::Relu, "activation", "ReLU"),
    (Activation::Gelu, "activation", "GELU"),
    (Activation::Silu, "activation", "SiLU"),
    (Activation::Sigmoid, "activation", "Sigmoid"),
    (Activation::LeakyRelu, "activation", "LeakyReLU"),
    (Activation::Relu6, "activation", "ReLU6"),
    (Activation::Mish, "activation", "Mish"),
];

const ACTIVATION: &str = "activation_function";
const WEIGHTS: &str = "model.safetensors";

fn map() -> KeyMap {
    KeyMap::new("").rule("linear", "linear")
}

/// The module in a folder, which reads vectors of `width`.
pub(super) fn read(folder: &Path, width: usize, device: &Device) -> Result<Projection, CheckpointError> {
    let config = read_json(&folder.join("config.json"))?;
    let size = |field: &str| {
        let size = config[field].as_u64().filter(|size| *size > 0).and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| unsupported(field, &config[field], "a number above 0"))
    };
    let (input, output) = (size("in_features")?, size("out_features")?);
    if input != width {
        return Err(unsupported("in_features", input, &format!("{width}, the width of what it reads")));
    }
    let name = config[ACTIVATION].as_str().unwrap_or("torch.nn.modules.activation.Tanh");
    let known = ACTIVATIONS.iter().find(|(.., class)| name.rsplit('.').next() == Some(class));
    let Some((activation, ..)) = known else {
        let classes: Vec<&str> = ACTIVATIONS.iter().map(|(.., class)| *class).collect();
        return Err(unsupported(ACTIVATION, name, &classes.join(", ")));
    };
    let tensors = Tensors::open_folder(folder)?;
    // A damaged size must not ask for the memory: the file has as much.
    let found = tensors.shape("linear.weight")?;
    if found != [output, input] {
        let (key, expected) = ("linear.weight".into(), vec![output, input]);
        return Err(CheckpointError::WrongShape { key, expected, found: found.to_vec() });
    }
    let fresh = Projection::new([input, output], config["bias"] != Value::Bool(false), *activation, 0, device);
    Ok(load_mapped(&fresh, "", &tensors, &map())?.0)
}

/// Writes the module into a folder that is there.
pub(super) fn write(folder: &Path, dense: &Projection) -> Result<(), CheckpointError> {
    let known = ACTIVATIONS.iter().find(|(activation, ..)| *activation == dense.activation());
    let Some((_, module, class)) = known else {
        let supported = "one of those that sentence-transformers can load from its folder";
        return Err(unsupported(ACTIVATION, format!("{:?}", dense.activation()), supported));
    };
    let [input, output] = dense.widths();
    let config = json!({
        "in_features": input,
        "out_features": output,
        "bias": dense.has_bias(),
        ACTIVATION: format!("torch.nn.modules.{module}.{class}"),
    });
    write_json(&folder.join("config.json"), &config)?;
    save_tensors(folder.join(WEIGHTS), mapped(dense, "", &map())?, &[("format", "pt")])
}
