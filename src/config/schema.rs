//! The configuration in the OpenAPI document, made from the declarations of the options.

use serde_json::Value;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema};
use utoipa::openapi::{Array, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::declare::OptionSpec;
use super::options::{Config, ConfigUpdate, groups};

impl PartialSchema for Config {
    fn schema() -> RefOr<Schema> {
        let options = groups().into_iter().flat_map(|group| group.options);
        let about = "The options that hold, the documented ones first.";
        let object = options.fold(ObjectBuilder::new(), |object, option| {
            object.property(option.name, option.property(None)).required(option.name)
        });
        object.description(Some(about)).into()
    }
}

impl ToSchema for Config {}

impl PartialSchema for ConfigUpdate {
    fn schema() -> RefOr<Schema> {
        let options = groups().into_iter().flat_map(|group| group.options);
        let about = "The fields that can be changed while the service runs, each of them optional.";
        let object = options.fold(ObjectBuilder::new(), |object, option| match &option.example {
            Some(example) => object.property(option.name, option.property(Some(example.clone()))),
            None => object,
        });
        object.description(Some(about)).into()
    }
}

impl ToSchema for ConfigUpdate {}

impl OptionSpec {
    fn property(&self, example: Option<Value>) -> RefOr<Schema> {
        let mut property = (self.schema)();
        if let RefOr::T(schema) = &mut property {
            if let Some(allowed) = &self.allowed {
                allowed.restrict(schema);
            }
            if let Schema::Object(Object { description, examples, .. })
            | Schema::Array(Array { description, examples, .. }) = schema
            {
                *description = Some(self.help.clone());
                examples.extend(example);
            }
        }
        property
    }
}
