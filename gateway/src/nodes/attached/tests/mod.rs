//! Attached servers that are honest, and others, behind real connections.

mod answers;

mod refusals;

mod upstream;
