//! The machine that a pickle is a program of.

use std::collections::HashMap;

use super::Fault;
use super::object::{Global, Id, Object, Objects, StorageRef, TensorView};
use super::opcode::*;
use crate::checkpoint::cursor::Cursor;

/// Names of storages are numbers.
const MAX_KEY: usize = 32;

/// Reads one pickle. Each opcode makes one object at most, so that a file makes no more than it has bytes.
#[derive(Default)]
pub(crate) struct Machine {
    objects: Objects,
    stack: Vec<Id>,
    /// Lengths of the stack where a run of items begins.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine {
    /// The pickle's objects, and which of them it is.
    pub(crate) fn run(mut self, input: &mut Cursor<'_>) -> Result<(Objects, Id), Fault> {
        loop {
            match input.u8()? {
                STOP => break,
                opcode => self.step(opcode, input)?,
            }
        }
        let result = self.pop()?;
        Ok((self.objects, result))
    }

    fn step(&mut self, opcode: u8, input: &mut Cursor<'_>) -> Result<(), Fault> {
        match opcode {
            PROTO => return protocol(input.u8()?),
            FRAME => _ = input.u64()?,
            MARK => self.marks.push(self.stack.len()),
            POP => _ = self.pop()?,
            BINPUT => self.remember(input.u8()?.into())?,
            LONG_BINPUT => self.remember(input.u32()?)?,
            MEMOIZE => self.remember(self.memo.len() as u32)?,
            BINGET => self.recall(input.u8()?.into())?,
            LONG_BINGET => self.recall(input.u32()?)?,
            APPEND => self.append(1)?,
            APPENDS => {
                let count = self.run_length()?;
                self.append(count)?;
            }
            SETITEM => self.set(2)?,
            SETITEMS => {
                let count = self.run_length()?;
                self.set(count)?;
            }
            BUILD => self.build()?,
            GLOBAL => {
                let (module, name) = (input.line()?, input.line()?);
                self.push(global(module, name)?)?;
            }
            _ => {
                let object = match self.collection(opcode)? {
                    Some(object) => object,
                    None => value(opcode, input)?,
                };
                self.push(object)?;
            }
        }
        Ok(())
    }

    /// Objects that are made of what is on the stack.
    fn collection(&mut self, opcode: u8) -> Result<Option<Object>, Fault> {
        Ok(Some(match opcode {
            EMPTY_LIST => Object::List(vec![]),
            EMPTY_DICT => Object::Dict(vec![]),
            EMPTY_TUPLE => Object::Tuple(vec![]),
            TUPLE1 => Object::Tuple(self.take(1)?),
            TUPLE2 => Object::Tuple(self.take(2)?),
            TUPLE3 => Object::Tuple(self.take(3)?),
            TUPLE => {
                let count = self.run_length()?;
                Object::Tuple(self.take(count)?)
            }
            STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.objects.text(id).ok_or_else(|| malformed("a global is not named by texts"));
                global(text(module)?, text(name)?)?
            }
            REDUCE => self.reduce()?,
            BINPERSID => self.storage()?,
            _ => return Ok(None),
        }))
    }

    fn push(&mut self, object: Object) -> Result<(), Fault> {
        let id = self.objects.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = (self.stack.len() > floor).then(|| self.stack.pop()).flatten();
        top.ok_or_else(|| malformed("an opcode finds too little on the stack"))
    }

    /// The last `count` objects.
    fn take(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= floor);
        let start = start.ok_or_else(|| malformed("an opcode finds too little on the stack"))?;
        Ok(self.stack.split_off(start))
    }

    /// How many objects follow the last mark, which is taken away.
    fn run_length(&mut self) -> Result<usize, Fault> {
        let mark = self.marks.pop().ok_or_else(|| malformed("a run of items has no beginning"))?;
        Ok(self.stack.len() - mark)
    }

    fn remember(&mut self, number: u32) -> Result<(), Fault> {
        let top = self.stack.last().copied().ok_or_else(|| malformed("there is nothing to remember"))?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u32) -> Result<(), Fault> {
        let id = self.memo.get(&number).copied();
        self.stack.push(id.ok_or_else(|| malformed(&format!("object {number} is asked for before it is made")))?);
        Ok(())
    }

    fn append(&mut self, count: usize) -> Result<(), Fault> {
        let items = self.take(count)?;
        let list = self.top()?;
        match self.objects.get_mut(list) {
            Object::List(list) => list.extend(items),
            _ => return Err(malformed("items are appended to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, count: usize) -> Result<(), Fault> {
        let items = self.take(count)?;
        let (pairs, []) = items.as_chunks::<2>() else { return Err(malformed("a key has no value")) };
        let dict = self.top()?;
        match self.objects.get_mut(dict) {
            Object::Dict(dict) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(malformed("a key is set in what is no dictionary")),
        }
        Ok(())
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack.last().copied().ok_or_else(|| malformed("an opcode finds too little on the stack"))
    }

    /// Attributes of an object. Modules give their dictionary one, `_metadata`, which holds no weights.
    fn build(&mut self) -> Result<(), Fault> {
        let (state, object) = (self.pop()?, self.top()?);
        let known = match &self.objects[state] {
            Object::Dict(pairs) => pairs.iter().all(|(key, _)| self.objects.text(*key) == Some("_metadata")),
            _ => false,
        };
        match (&self.objects[object], known) {
            (Object::Dict(_), true) => Ok(()),
            _ => Err(Fault::Refused(format!("attributes of {}", self.objects.name(object)))),
        }
    }

    /// What a global makes of its arguments.
    fn reduce(&mut self) -> Result<Object, Fault> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Object::Global(global) = self.objects[callee] else {
            return Err(Fault::Refused(format!("a call of {}", self.objects.name(callee))));
        };
        let Object::Tuple(arguments) = &self.objects[arguments] else {
            return Err(malformed("the arguments of a call are no tuple"));
        };
        match (global, arguments.as_slice()) {
            (Global::OrderedDict, []) => Ok(Object::Dict(vec![])),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                self.tensor(*storage, *offset, *shape, *strides)
            }
            (Global::RebuildParameter, [tensor, ..]) if matches!(self.objects[*tensor], Object::Tensor(_)) => {
                Ok(self.objects[*tensor].clone())
            }
            _ => Err(Fault::Refused(format!("a call of {global:?} with other arguments than PyTorch gives it"))),
        }
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Object, Fault> {
        let Object::Storage(storage) = &self.objects[storage] else {
            return Err(Fault::Refused(format!("a tensor over {}", self.objects.name(storage))));
        };
        let sizes = (self.objects.size(offset), self.objects.sizes(shape), self.objects.sizes(strides));
        let (Some(offset), Some(shape), Some(strides)) = sizes else {
            return Err(malformed("the sizes of a tensor are no whole numbers from 0 on"));
        };
        let view = TensorView { storage: storage.clone(), offset, shape, strides };
        view.check().map_err(Fault::Damaged)?;
        Ok(Object::Tensor(view))
    }

    /// `('storage', class, key, device, count)`, and in old files what it is a view of, which is nothing.
    fn storage(&mut self) -> Result<Object, Fault> {
        let id = self.pop()?;
        let Object::Tuple(parts) = &self.objects[id] else {
            return Err(Fault::Refused("a persistent object that is no storage".into()));
        };
        let (kind, class, key, count) = match parts.as_slice() {
            [kind, class, key, _, count] => (kind, class, key, count),
            [kind, class, key, _, count, view] if self.objects[*view] == Object::None => (kind, class, key, count),
            [_, _, _, _, _, _] => return Err(Fault::Refused("a storage that is a view of another one".into())),
            _ => return Err(Fault::Refused("a persistent object that is no storage".into())),
        };
        let (Object::Global(Global::Storage(dtype)), Some("storage")) =
            (&self.objects[*class], self.objects.text(*kind))
        else {
            return Err(Fault::Refused("a persistent object that is no storage".into()));
        };
        let (Some(key), Some(count)) = (self.objects.text(*key), self.objects.size(*count)) else {
            return Err(malformed("a storage has no name or size"));
        };
        if key.len() > MAX_KEY {
            return Err(malformed("the name of a storage is no number"));
        }
        Ok(Object::Storage(StorageRef { dtype: *dtype, key: key.into(), count }))
    }
}

/// Objects that are made of the bytes that follow their opcode.
fn value(opcode: u8, input: &mut Cursor<'_>) -> Result<Object, Fault> {
    Ok(match opcode {
        NONE => Object::None,
        NEWTRUE => Object::Bool(true),
        NEWFALSE => Object::Bool(false),
        BININT1 => Object::Int(input.u8()?.into()),
        BININT2 => Object::Int(input.u16()?.into()),
        BININT => Object::Int(i32::from_le_bytes(input.array()?).into()),
        LONG1 => {
            let length = input.u8()?;
            long(input.take(length.into())?)
        }
        BINFLOAT => {
            input.array::<8>()?;
            Object::Other("a float")
        }
        BINUNICODE => {
            let length = input.u32()?;
            Object::Text(input.text(length.into())?.into())
        }
        SHORT_BINUNICODE | SHORT_BINSTRING => {
            let length = input.u8()?;
            Object::Text(input.text(length.into())?.into())
        }
        BINSTRING => {
            let length = input.u32()?;
            Object::Text(input.text(length.into())?.into())
        }
        SHORT_BINBYTES => {
            let length = input.u8()?;
            input.take(length.into())?;
            Object::Other("bytes")
        }
        BINBYTES => {
            let length = input.u32()?;
            input.take(length.into())?;
            Object::Other("bytes")
        }
        other => return Err(Fault::Refused(format!("the pickle opcode {other:#04x}"))),
    })
}

/// A whole number of any length, the sign in its last bit.
fn long(bytes: &[u8]) -> Object {
    let Some(last) = bytes.last() else { return Object::Int(0) };
    if bytes.len() > 8 {
        return Object::Other("a large number");
    }
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(whole))
}

fn global(module: &str, name: &str) -> Result<Object, Fault> {
    let known = Global::of(module, name).map(Object::Global);
    known.ok_or_else(|| Fault::Refused(format!("the global `{module}.{name}`")))
}

fn protocol(version: u8) -> Result<(), Fault> {
    match version {
        1..=5 => Ok(()),
        _ => Err(malformed(&format!("it says that it is of pickle protocol {version}"))),
    }
}

fn malformed(reason: &str) -> Fault {
    Fault::Damaged(reason.into())
}
