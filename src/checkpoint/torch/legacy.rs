//! The form of PyTorch before 1.6: the pickles of a magic number, a version, the system's sizes and the tensors, then the
//! names of the storages and their values in that order.

use super::{Storages, state_dict};
use crate::checkpoint::cursor::Cursor;
use crate::checkpoint::header::Header;
use crate::checkpoint::pickle::{Fault, Id, Machine, Object, Objects, StorageRef};

/// The version that PyTorch has written ever since.
const VERSION: i64 = 1001;

pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
    let mut input = Cursor::new(bytes);
    // Its first bytes are what made the file one of this form.
    Machine::default().run(&mut input)?;
    let (objects, version) = Machine::default().run(&mut input)?;
    if objects[version] != Object::Int(VERSION) {
        return Err(Fault::Refused(format!("another version of the old form than {VERSION}")));
    }
    let (objects, system) = Machine::default().run(&mut input)?;
    check_system(&objects, system)?;
    let (objects, root) = Machine::default().run(&mut input)?;
    let storages = storages(&objects, &mut input)?;
    state_dict::read(&objects, root, &storages)
}

fn check_system(objects: &Objects, system: Id) -> Result<(), Fault> {
    let Object::Dict(pairs) = &objects[system] else {
        return Err(Fault::Damaged("it does not name its system".into()));
    };
    let little = pairs.iter().find(|(key, _)| objects.text(*key) == Some("little_endian")).map(|(_, value)| *value);
    match little.is_some_and(|value| objects[value] == Object::Bool(true)) {
        true => Ok(()),
        false => Err(Fault::Refused("values in big-endian order".into())),
    }
}

fn storages(objects: &Objects, input: &mut Cursor<'_>) -> Result<Storages, Fault> {
    let (names, list) = Machine::default().run(input)?;
    let Object::List(list) = &names[list] else { return Err(Fault::Damaged("it does not list its storages".into())) };
    let known: std::collections::BTreeMap<&str, &StorageRef> =
        objects.storages().map(|s| (s.key.as_str(), s)).collect();
    let mut storages = Storages::new();
    for name in list {
        let name = names.text(*name).ok_or_else(|| Fault::Damaged("a storage is not named by a text".into()))?;
        let storage = known.get(name).ok_or_else(|| Fault::Refused(format!("a storage `{name}` of no tensor")))?;
        let count = input.u64()?;
        if count != storage.count as u64 {
            return Err(Fault::Damaged(format!(
                "the storage `{name}` has {count} values, but {} are named",
                storage.count
            )));
        }
        let bytes = count.checked_mul((storage.dtype.bitsize() / 8) as u64);
        let start = input.place();
        input.take(bytes.ok_or_else(|| Fault::Damaged(format!("{count} values are too many")))?)?;
        if storages.insert(name.into(), start..input.place()).is_some() {
            return Err(Fault::Damaged(format!("the storage `{name}` occurs twice")));
        }
    }
    match input.left() {
        0 => Ok(storages),
        left => Err(Fault::Damaged(format!("{left} bytes follow its storages"))),
    }
}
