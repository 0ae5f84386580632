import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import NIOCore

// ApiVersions 0-4. From version 3 on a client names its software (KIP-511) and is told the features (KIP-584), from 4 on
// those too whose lowest level is 0, which older clients cannot read. A version that is not served is answered all the
// same, with error 35 in version 0's form and the versions of this one API, so that the client can ask again.
extension ApiHandler {
    static let apiVersions = ApiHandler.ordinary(ApiVersionsRequest.self) { request, context, respond in
        var response = ApiVersionsResponse()
        if context.apiVersion >= 3,
            !isSoftwareName(request.clientSoftwareName) || !isSoftwareName(request.clientSoftwareVersion)
        {
            response.errorCode = .invalidRequest
            respond(response)
            return
        }
        response.apiKeys = context.broker.apiHandlers.map { .init(of: $0) }
        let image = context.broker.metadata.image
        response.finalizedFeaturesEpoch = image.revision
        for feature in Feature.served {
            let levels = feature.levels
            if context.apiVersion >= 4 || levels.lowerBound > 0 {
                response.supportedFeatures.append(.init(feature))
            }
            let level = image.level(of: feature)
            if level > 0 { response.finalizedFeatures.append(.init(feature, level)) }
        }
        respond(response)
    }

    /// The answer to ApiVersions in a version that is not served.
    static func unsupportedApiVersions(_ correlationID: Int32) -> ByteBuffer {
        var response = ApiVersionsResponse()
        response.errorCode = .unsupportedVersion
        response.apiKeys = [.init(of: .apiVersions)]
        return encodeResponse(response, version: 0, correlationID: correlationID, flexibleHeader: false) ?? ByteBuffer()
    }
}

extension ApiVersionsResponse.ApiVersion {
    fileprivate init(of handler: ApiHandler) {
        self.init()
        self.apiKey = handler.key
        self.minVersion = handler.advertised.lowerBound
        self.maxVersion = handler.advertised.upperBound
    }
}

extension ApiVersionsResponse.SupportedFeatureKey {
    fileprivate init(_ feature: Feature) {
        self.init()
        self.name = feature.rawValue
        self.minVersion = feature.levels.lowerBound
        self.maxVersion = feature.levels.upperBound
    }
}

extension ApiVersionsResponse.FinalizedFeatureKey {
    fileprivate init(_ feature: Feature, _ level: Int16) {
        self.init()
        self.name = feature.rawValue
        self.minVersionLevel = level
        self.maxVersionLevel = level
    }
}

/// KIP-511: letters and digits, with dots and hyphens between them.
private func isSoftwareName(_ name: String) -> Bool {
    func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
    let bytes = name.utf8
    guard let first = bytes.first, let last = bytes.last, isLetterOrDigit(first), isLetterOrDigit(last) else {
        return false
    }
    return bytes.allSatisfy { isLetterOrDigit($0) || $0 == 0x2d || $0 == 0x2e }
}
