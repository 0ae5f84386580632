/// A message, as one block of a schema describes it.
struct MessageSchema {
    enum Kind: String {
        case request, response, header, data, metadata
        case coordinatorKey = "coordinator-key"
        case coordinatorValue = "coordinator-value"
    }

    var kind: Kind
    /// Kafka's name: `HeartbeatRequest`.
    var name: String
    /// The API key, or the type of a record.
    var key: Int?
    var versions: VersionRange
    var flexible: VersionRange
    var listeners: [String] = []
    /// The latest version is not final yet; Kafka announces it only when told to.
    var isUnstable = false
    /// What stands on top of the file.
    var comment: [String] = []
    /// The schema's path, from the folder of the schemas.
    var file: String
    var fields: [Field] = []
    /// Structures that are used in more than one place.
    var commonStructs: [StructSchema] = []
}

struct StructSchema {
    /// Kafka's name.
    var name: String
    var versions: VersionRange
    var fields: [Field]
}

enum Scalar: String, CaseIterable {
    case bool, int8, int16, int32, int64, uint16, uint32, float64, uuid, string, bytes, records
    /// int16 on the wire.
    case errorCode = "ErrorCode"
}

enum ElementType: Equatable {
    case scalar(Scalar)
    case structure(String)
}

struct Field {
    /// Kafka's name, beginning in lower case: `topicId`.
    var name: String
    var isArray: Bool
    var element: ElementType
    var versions: VersionRange
    var nullable: VersionRange
    var tag: Int?
    var tagged: VersionRange
    var defaultValue: String?
    var isIgnorable = false
    var isMapKey = false
    var isZeroCopy = false
    var isNeverFlexible = false
    var entity: String?
    var comment: String?
    /// The fields of a structure that is described here; empty for scalars and common structures.
    var fields: [Field] = []
}

struct SchemaError: Error, CustomStringConvertible {
    var description: String
}
