//! Freeze policies as text: `bottom:2`, `gradual-plateau:3:0.01`, `nothing@2 > bottom:3@50steps > backbone`.

use super::{Freeze, FreezeError, Phase, Selector, Span};
use crate::nearest::nearest;
use std::fmt;
use std::str::FromStr;

const FORMS: [&str; 12] = [
    "nothing",
    "backbone",
    "bottom:STAGES",
    "except:SELECTOR;SELECTOR",
    "gradual:EPOCHS",
    "gradual-plateau:PATIENCE",
    "lp-ft:EPOCHS",
    "chain-thaw:EPOCHS",
    "bitfit",
    "norm",
    "every:LAYERS",
    "surgical:STAGES",
];

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Backbone => f.write_str("backbone"),
            Self::Bottom(stages) => write!(f, "bottom:{stages}"),
            Self::Except(selectors) => {
                let selectors: Vec<_> = selectors.iter().map(Selector::to_string).collect();
                write!(f, "except:{}", selectors.join(";"))
            }
            Self::Gradual { epochs } => write!(f, "gradual:{epochs}"),
            Self::GradualPlateau { patience, min_delta: 0.0 } => write!(f, "gradual-plateau:{patience}"),
            Self::GradualPlateau { patience, min_delta } => write!(f, "gradual-plateau:{patience}:{min_delta}"),
            Self::LpFt { head } => write!(f, "lp-ft:{head}"),
            Self::ChainThaw { each } => write!(f, "chain-thaw:{each}"),
            Self::BitFit => f.write_str("bitfit"),
            Self::Norm => f.write_str("norm"),
            Self::Every(layers) => write!(f, "every:{layers}"),
            Self::Surgical { stages } => write!(f, "surgical:{stages}"),
            Self::Phases { phases, then } => {
                phases.iter().try_for_each(|Phase { freeze, lasts }| write!(f, "{freeze}@{lasts} > "))?;
                // Without a phase before it, the mark alone says that this is a list.
                write!(f, "{}{then}", if phases.is_empty() { "> " } else { "" })
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs(epochs) => write!(f, "{epochs}"),
            Self::Steps(steps) => write!(f, "{steps}steps"),
        }
    }
}

impl FromStr for Freeze {
    type Err = FreezeError;

    fn from_str(text: &str) -> Result<Self, FreezeError> {
        let wrong = |reason: String| FreezeError::Text { text: text.into(), reason };
        let freeze = match text.rsplit_once('>') {
            None => one(text).map_err(wrong)?,
            Some((phases, then)) => {
                let phases = if phases.trim().is_empty() { vec![] } else { phases.split('>').collect() };
                let phases = phases.into_iter().map(phase).collect::<Result<_, _>>().map_err(wrong)?;
                Self::Phases { phases, then: Box::new(one(then).map_err(wrong)?) }
            }
        };
        freeze.check()?;
        Ok(freeze)
    }
}

fn phase(text: &str) -> Result<Phase, String> {
    match text.rsplit_once('@') {
        Some((freeze, lasts)) => Ok(Phase { freeze: one(freeze)?, lasts: span(lasts.trim())? }),
        None => Err(format!("`{}` does not say how long it lasts; write `@2` or `@50steps` after it", text.trim())),
    }
}

fn one(text: &str) -> Result<Freeze, String> {
    let text = text.trim();
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
    Ok(match (name, value) {
        ("nothing", None) => Freeze::Nothing,
        ("backbone", None) => Freeze::Backbone,
        ("bitfit", None) => Freeze::BitFit,
        ("norm", None) => Freeze::Norm,
        ("bottom", Some(stages)) => Freeze::Bottom(number(stages)?),
        ("gradual", None) => Freeze::Gradual { epochs: 1 },
        ("gradual", Some(epochs)) => Freeze::Gradual { epochs: number(epochs)? },
        ("gradual-plateau", Some(value)) => {
            let (patience, min_delta) = value.split_once(':').unwrap_or((value, "0"));
            Freeze::GradualPlateau { patience: number(patience)?, min_delta: number(min_delta)? }
        }
        ("lp-ft", None) => Freeze::LpFt { head: Span::Epochs(1) },
        ("lp-ft", Some(head)) => Freeze::LpFt { head: span(head)? },
        ("chain-thaw", Some(each)) => Freeze::ChainThaw { each: span(each)? },
        ("every", Some(layers)) => Freeze::Every(number(layers)?),
        ("surgical", Some(stages)) => Freeze::Surgical { stages: number(stages)? },
        ("except", Some("")) => Freeze::Except(vec![]),
        ("except", Some(selectors)) => {
            let selectors = selectors.split(';').map(str::parse::<Selector>).collect::<Result<_, _>>();
            Freeze::Except(selectors.map_err(|error| error.to_string())?)
        }
        _ => return Err(unknown(text, name, value)),
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a number that fits here"))
}

fn span(text: &str) -> Result<Span, String> {
    match text.strip_suffix("steps") {
        Some(steps) => Ok(Span::Steps(number(steps)?)),
        None => Ok(Span::Epochs(number(text)?)),
    }
}

fn unknown(text: &str, name: &str, value: Option<&str>) -> String {
    let named = |form: &&&str| form.split(':').next() == name.split('@').next();
    match (FORMS.iter().find(named), value) {
        (Some(_), _) if text.contains('@') => "`@` says how long a phase lasts, and the last one has no end".into(),
        (Some(form), None) => format!("a number or a selector is missing; write it as `{form}`"),
        (Some(form), Some(_)) => format!("nothing may follow; write it as `{form}`"),
        (None, _) => {
            let names = FORMS.map(|form| form.split(':').next().unwrap_or(form));
            format!("the nearest is `{}`; there are {}", nearest(name, names).unwrap_or_default(), FORMS.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        text.parse::<Freeze>().unwrap_err().to_string()
    }

    fn plain() -> impl Strategy<Value = Freeze> {
        let count = 1_usize..1000;
        let span = prop_oneof![count.clone().prop_map(Span::Epochs), count.clone().prop_map(Span::Steps)];
        prop_oneof![
            Just(Freeze::Nothing),
            Just(Freeze::Backbone),
            Just(Freeze::BitFit),
            Just(Freeze::Norm),
            count.clone().prop_map(Freeze::Bottom),
            count.clone().prop_map(Freeze::Every),
            count.clone().prop_map(|stages| Freeze::Surgical { stages }),
            count.clone().prop_map(|epochs| Freeze::Gradual { epochs }),
            (count, 0.0..1e3).prop_map(|(patience, min_delta)| Freeze::GradualPlateau { patience, min_delta }),
            span.clone().prop_map(|head| Freeze::LpFt { head }),
            span.prop_map(|each| Freeze::ChainThaw { each }),
            prop::collection::vec("[a-z]{1,4}(\\.[a-z0-9*]{1,3}){0,3}", 0..3).prop_map(|selectors| {
                Freeze::Except(selectors.iter().filter_map(|selector| selector.parse().ok()).collect())
            }),
        ]
    }

    proptest! {
        #[test]
        fn texts_and_policies_are_each_others_inverse(
            then in plain(),
            phases in prop::collection::vec((plain(), 1_usize..99, any::<bool>()), 0..4),
        ) {
            prop_assert_eq!(then.to_string().parse::<Freeze>().unwrap(), then.clone());
            let json = serde_json::to_string(&then).unwrap();
            prop_assert_eq!(serde_json::from_str::<Freeze>(&json).unwrap(), then.clone());
            let phase = |(freeze, count, epochs)| {
                Phase { freeze, lasts: if epochs { Span::Epochs(count) } else { Span::Steps(count) } }
            };
            let list = Freeze::Phases { phases: phases.into_iter().map(phase).collect(), then: Box::new(then) };
            prop_assert_eq!(list.to_string().parse::<Freeze>().unwrap(), list);
        }

        #[test]
        fn no_text_panics(text in ".{0,30}", tail in "(bottom|except|lp-ft|gradual-plateau)[:@>0-9a-z.]{0,12}") {
            let _ = (text.parse::<Freeze>(), tail.parse::<Freeze>());
        }
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        for (text, part) in [
            ("grdual:2", "the nearest is `gradual`"),
            ("bottom", "write it as `bottom:STAGES`"),
            ("bottom:two", "`two` is not a number"),
            ("bottom:-1", "`-1` is not a number"),
            ("bitfit:3", "write it as `bitfit`"),
            ("gradual:0", "at least 1 epoch"),
            ("gradual-plateau:1:nan", "min_delta NaN"),
            ("lp-ft:0steps", "at least 1 epoch or step"),
            ("every:0", "at least 1 layer"),
            ("surgical:0", "at least 1 stage"),
            ("backbone > nothing", "`backbone` does not say how long it lasts"),
            ("backbone@1", "the last one has no end"),
            ("backbone@0 > nothing", "at least 1 epoch or step for each phase"),
            ("except:a..b", "a segment is empty"),
            ("", "there are nothing, backbone,"),
        ] {
            assert!(error(text).contains(part), "{text}: {}", error(text));
        }
    }
}
