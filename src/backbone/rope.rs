//! Rotary position embeddings as configuration files describe them, under old names and new.

use super::config::ensure;
use crate::checkpoint::CheckpointError;
use crate::nn::{RopeScaling, Rotary};
use serde_json::{Map, Value};

/// The keys of a configuration that describe rotary embeddings, and what stands in for absent ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RopeFields<'a> {
    /// The keys of the file.
    pub(crate) fields: &'a Map<String, Value>,
    /// The key of the base where it stands outside `rope_parameters`, and the architecture's own base.
    pub(crate) theta: (&'a str, f64),
    /// The same of the share of a head that turns; `None` for architectures that turn all of it.
    pub(crate) partial: Option<(&'a str, f64)>,
    /// Names of LongRoPE.
    pub(crate) longrope: &'a [&'a str],
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// `max_position_embeddings`.
    pub(crate) positions: usize,
    /// Places that frequencies were trained for, where a field of its own says; it wins over `rope_parameters`.
    pub(crate) trained: Option<usize>,
}

/// Where messages say the value stands.
const PARAMETERS: &str = "rope_parameters";

impl<'a> RopeFields<'a> {
    /// Those of an architecture with `rope_theta` and heads that turn whole.
    pub(crate) fn new(fields: &'a Map<String, Value>, head_dim: usize, positions: usize) -> Self {
        Self {
            fields,
            theta: ("rope_theta", 10_000.0),
            partial: None,
            longrope: &["longrope"],
            head_dim,
            positions,
            trained: None,
        }
    }

    /// The same with the base under another key, and another base where there is none.
    pub(crate) fn with_theta(self, theta: (&'a str, f64)) -> Self {
        Self { theta, ..self }
    }

    /// What all layers share: `rope_scaling`, as files were before 2025, or else `rope_parameters`.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the key.
    pub(crate) fn shared(&self) -> Result<Rotary, CheckpointError> {
        let parameters = object(self.fields, "rope_scaling")?.filter(|parameters| !parameters.is_empty());
        let parameters =
            parameters.map_or_else(|| object(self.fields, PARAMETERS), |parameters| Ok(Some(parameters)))?;
        let empty = Map::new();
        let parameters = parameters.unwrap_or(&empty);
        let nested = parameters.iter().find(|(_, value)| value.is_object());
        let by_layer = nested.map(|(kind, _)| kind.as_str()).unwrap_or_default();
        ensure(nested.is_none(), PARAMETERS, by_layer, "one set of values for all layers")?;
        let outside = number(self.fields, "original_max_position_embeddings")?;
        let trained = self.trained.map_or(outside, |trained| Some(trained as f64));
        self.rotary(parameters, trained)
    }

    /// What the layers of one kind have, from their own `parameters`.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the key.
    pub(crate) fn of(&self, parameters: &Map<String, Value>) -> Result<Rotary, CheckpointError> {
        self.rotary(parameters, None)
    }

    fn rotary(&self, parameters: &Map<String, Value>, trained: Option<f64>) -> Result<Rotary, CheckpointError> {
        let (theta_field, theta) = self.theta;
        let given =
            number(parameters, "rope_theta")?.map_or_else(|| number(self.fields, theta_field), |own| Ok(Some(own)))?;
        let theta = given.unwrap_or(theta);
        ensure(theta > 1.0 && theta.is_finite(), "rope_theta", theta, "a number above 1")?;
        let width = self.width(parameters)?;
        let kind = ["rope_type", "type"].iter().find_map(|field| parameters.get(*field)?.as_str()).unwrap_or("default");
        let trained =
            trained.map_or_else(|| number(parameters, "original_max_position_embeddings"), |own| Ok(Some(own)))?;
        let trained = trained.unwrap_or(self.positions as f64);
        ensure(trained >= 1.0, "original_max_position_embeddings", trained, "a number above 0")?;
        let values = Values { parameters, trained: trained as usize, positions: self.positions, width };
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: values.above_zero("factor", None)? },
            "dynamic" => {
                ensure(width > 2, "head_dim", width, "at least 4 turned values with `dynamic` scaling")?;
                RopeScaling::Dynamic { factor: values.above_zero("factor", None)?, trained: self.positions }
            }
            "llama3" => values.llama3()?,
            _ if self.longrope.contains(&kind) => values.longrope()?,
            "yarn" => values.yarn()?,
            _ => {
                let supported = "default, linear, dynamic, llama3, yarn or longrope";
                return ensure(false, "rope_type", kind, supported)
                    .map(|()| Rotary::new(theta, width, RopeScaling::None));
            }
        };
        Ok(Rotary::new(theta, width, scaling))
    }

    /// How many values of a head turn.
    fn width(&self, parameters: &Map<String, Value>) -> Result<usize, CheckpointError> {
        const FIELD: &str = "partial_rotary_factor";
        let own = number(parameters, FIELD)?;
        let outside = number(self.fields, self.partial.map_or(FIELD, |(field, _)| field))?;
        let share = own.or(outside).unwrap_or(self.partial.map_or(1.0, |(_, share)| share));
        let fits = self.partial.is_some() || share == 1.0;
        ensure(fits, FIELD, share, "1.0, for this architecture turns whole heads")?;
        let width = (self.head_dim as f64 * share) as usize;
        let fits = width > 0 && width.next_multiple_of(2) <= self.head_dim;
        ensure(fits, FIELD, share, &format!("a share of a head of {} that is even and not empty", self.head_dim))?;
        Ok(width)
    }
}

/// The values of one kind of scaling.
struct Values<'a> {
    parameters: &'a Map<String, Value>,
    trained: usize,
    positions: usize,
    width: usize,
}

impl Values<'_> {
    fn above_zero(&self, field: &str, default: Option<f64>) -> Result<f64, CheckpointError> {
        let value = number(self.parameters, field)?.or(default);
        let shown = value.map_or("missing".into(), |value| value.to_string());
        let fits = value.filter(|value| *value > 0.0 && value.is_finite());
        ensure(fits.is_some(), &format!("{PARAMETERS}.{field}"), shown, "a number above 0")?;
        Ok(fits.unwrap_or_default())
    }

    fn llama3(&self) -> Result<RopeScaling, CheckpointError> {
        let [low_freq_factor, high_freq_factor] =
            ["low_freq_factor", "high_freq_factor"].map(|field| self.above_zero(field, None));
        let (low_freq_factor, high_freq_factor) = (low_freq_factor?, high_freq_factor?);
        let fits = high_freq_factor > low_freq_factor;
        ensure(fits, "rope_parameters.high_freq_factor", high_freq_factor, "a number above low_freq_factor")?;
        let factor = self.above_zero("factor", None)?;
        Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, trained: self.trained })
    }

    fn yarn(&self) -> Result<RopeScaling, CheckpointError> {
        ensure(self.width.is_multiple_of(2), "head_dim", self.width, "an even number of turned values with `yarn`")?;
        let factor = self.above_zero("factor", Some(self.stretch()))?;
        let grown = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let of = |field| Ok(number(self.parameters, field)?.filter(|value| *value != 0.0));
        let attention_factor =
            match (number(self.parameters, "attention_factor")?, of("mscale")?, of("mscale_all_dim")?) {
                (Some(given), ..) => given,
                (None, Some(scale), Some(all)) => grown(scale) / grown(all),
                _ => grown(1.0),
            };
        Ok(RopeScaling::Yarn {
            factor,
            trained: self.trained,
            attention_factor,
            beta_fast: of("beta_fast")?.unwrap_or(32.0),
            beta_slow: of("beta_slow")?.unwrap_or(1.0),
            truncate: self.parameters.get("truncate").and_then(Value::as_bool).unwrap_or(true),
        })
    }

    fn longrope(&self) -> Result<RopeScaling, CheckpointError> {
        let factor = self.above_zero("factor", Some(self.stretch()))?;
        let grown = || match factor <= 1.0 {
            true => 1.0,
            false => (1.0 + factor.ln() / (self.trained as f64).ln()).sqrt(),
        };
        let attention_factor = number(self.parameters, "attention_factor")?.unwrap_or_else(grown);
        let (short, long) = (self.divisors("short_factor")?, self.divisors("long_factor")?);
        Ok(RopeScaling::LongRope { short, long, trained: self.trained, attention_factor })
    }

    /// How many times longer the network reads than it was trained for.
    fn stretch(&self) -> f64 {
        self.positions as f64 / self.trained as f64
    }

    fn divisors(&self, field: &str) -> Result<Vec<f64>, CheckpointError> {
        let list = self.parameters.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).filter(|number| *number > 0.0).collect();
        let pairs = self.width.div_ceil(2);
        let fits = numbers.len() == pairs && list.len() == pairs;
        ensure(
            fits,
            &format!("{PARAMETERS}.{field}"),
            format!("{} numbers", list.len()),
            &format!("{pairs} numbers above 0"),
        )?;
        Ok(numbers)
    }
}

/// A number; `None` where it is absent or null.
fn number(map: &Map<String, Value>, field: &str) -> Result<Option<f64>, CheckpointError> {
    let value = map.get(field).filter(|value| !value.is_null());
    let number = value.and_then(Value::as_f64);
    ensure(value.is_some() == number.is_some(), field, value.unwrap_or(&Value::Null), "a number")?;
    Ok(number)
}

/// A bundle of values; `None` where it is absent or null.
pub(crate) fn object<'a>(
    map: &'a Map<String, Value>,
    field: &str,
) -> Result<Option<&'a Map<String, Value>>, CheckpointError> {
    let value = map.get(field).filter(|value| !value.is_null());
    let object = value.and_then(Value::as_object);
    ensure(value.is_some() == object.is_some(), field, value.unwrap_or(&Value::Null), "names with values")?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shared(fields: Value) -> Result<Rotary, CheckpointError> {
        let Value::Object(fields) = fields else { panic!("not an object") };
        RopeFields::new(&fields, 8, 64).shared()
    }

    #[test]
    fn old_and_new_names_give_the_same() {
        let yarn = |trained, attention_factor| RopeScaling::Yarn {
            factor: 4.0,
            trained,
            attention_factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
        };
        let grown = 0.1 * 4f64.ln() + 1.0;
        for (fields, expected) in [
            (json!({}), Rotary::new(10_000.0, 8, RopeScaling::None)),
            (json!({"rope_theta": 500}), Rotary::new(500.0, 8, RopeScaling::None)),
            (
                json!({"rope_theta": 9.0, "rope_parameters": {"rope_theta": 500.0}}),
                Rotary::new(500.0, 8, RopeScaling::None),
            ),
            (
                json!({"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2}}),
                Rotary::new(500.0, 8, RopeScaling::Linear { factor: 2.0 }),
            ),
            (
                json!({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}),
                Rotary::new(10_000.0, 8, RopeScaling::Dynamic { factor: 2.0, trained: 64 }),
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
                Rotary::new(10_000.0, 8, yarn(16, grown)),
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.25}}),
                Rotary::new(10_000.0, 8, yarn(64, 1.25)),
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": 2.0, "mscale_all_dim": 0.5}}),
                Rotary::new(10_000.0, 8, yarn(64, (0.2 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0))),
            ),
        ] {
            assert_eq!(shared(fields.clone()).expect("supported"), expected, "{fields}");
        }
    }

    #[test]
    fn longrope_takes_the_length_from_outside_its_own_values() {
        let fields = json!({"original_max_position_embeddings": 16, "rope_scaling": {"rope_type": "longrope",
            "short_factor": [1, 1, 1, 1], "long_factor": [2, 3, 4, 5], "original_max_position_embeddings": 32}});
        let attention_factor = (1.0 + 4f64.ln() / 16f64.ln()).sqrt();
        let (short, long) = (vec![1.0; 4], vec![2.0, 3.0, 4.0, 5.0]);
        let scaling = RopeScaling::LongRope { short, long, trained: 16, attention_factor };
        assert_eq!(shared(fields).expect("supported"), Rotary::new(10_000.0, 8, scaling));
    }

    #[test]
    fn what_cannot_be_computed_is_named() {
        for (fields, named) in [
            (json!({"rope_scaling": {"type": "cubic"}}), "rope_type"),
            (json!({"rope_scaling": {"type": "linear"}}), "rope_parameters.factor"),
            (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "rope_parameters.factor"),
            (json!({"rope_scaling": 4}), "rope_scaling"),
            (json!({"rope_theta": "big"}), "rope_theta"),
            (json!({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}), "rope_parameters"),
            (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
            (json!({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}), "short_factor"),
            (
                json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}),
                "high_freq_factor",
            ),
        ] {
            let error = shared(fields.clone()).expect_err("not supported").to_string();
            assert!(error.contains(named), "{fields}: {error}");
        }
    }
}
