//! Copies of backups in other places: where they go, what is there, and reading straight from there.

pub mod access; // how a store is reached
pub mod destination; // where the copies of a set go
pub mod direct; // backups written straight there
mod expire; // incrementals there
pub mod import; // backups in a store, listed here
mod incrementals; // and tombstones: what stands beside backups
pub mod local; // what is here to be sent
pub mod retain; // what a destination keeps
pub mod send; // one object
pub mod upload; // all that is not there yet
pub mod verify; // whether it is there and whole
