import KafkaMessages
import KafkaPrimitives
import KafkaTransport

/// One API: its key, the versions that are served, and what serves them.
///
/// ApiVersions is answered from the list of these (`ApiHandlers.all`), so what is not whole is not listed.
package struct ApiHandler: Sendable {
    package enum Body: Sendable {
        /// The request is decoded, the answer encoded; may be answered later, from any thread.
        case ordinary(@Sendable (inout ByteReader, RequestContext, PendingResponse) throws(DecodingError) -> Void)
        case produce
        case fetch
    }

    package let key: Int16
    package let name: String
    /// What is served.
    package let versions: ClosedRange<Int16>
    /// What ApiVersions tells: as served, except for Produce (see 00_Produce.swift).
    package let advertised: ClosedRange<Int16>
    package let firstFlexibleVersion: Int16
    package let body: Body

    /// A handler that gets the decoded request and answers through a responder, exactly once, now or later.
    package static func ordinary<Request: KafkaRequest>(
        _ type: Request.Type,
        versions: ClosedRange<Int16>? = nil,
        _ body: @escaping @Sendable (Request, RequestContext, Responder<Request.Response>) -> Void
    ) -> ApiHandler {
        let versions = versions ?? Request.validVersions
        return ApiHandler(
            key: Request.apiKey,
            name: ApiHandler.name(of: type),
            versions: versions,
            advertised: versions,
            firstFlexibleVersion: Request.firstFlexibleVersion ?? .max,
            body: .ordinary { reader, context, pending throws(DecodingError) in
                let request = try Request(from: &reader, version: context.apiVersion)
                body(request, context, Responder(pending: pending))
            })
    }

    static func raw<Request: KafkaRequest>(
        _ type: Request.Type, versions: ClosedRange<Int16>, advertised: ClosedRange<Int16>, _ body: Body
    ) -> ApiHandler {
        ApiHandler(
            key: Request.apiKey, name: ApiHandler.name(of: type), versions: versions, advertised: advertised,
            firstFlexibleVersion: Request.firstFlexibleVersion ?? .max, body: body)
    }

    private static func name<Request>(of type: Request.Type) -> String {
        let name = String(describing: type)
        return name.hasSuffix("Request") ? String(name.dropLast("Request".count)) : name
    }

    /// ApiVersions answers in header version 0 always, so that a client that knows less can read it (KIP-511).
    package func responseHeaderIsFlexible(version: Int16) -> Bool {
        self.key != 18 && version >= self.firstFlexibleVersion
    }
}
