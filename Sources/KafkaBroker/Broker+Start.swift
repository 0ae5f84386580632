import Glibc
import KafkaCoordination
import KafkaLog
import KafkaMetadata
import KafkaPrimitives
import Logging
import NIOCore
import NIOPosix

extension Broker {
    /// Opens the data folder, recovers what is in it, and listens. Blocks; not to be called on an event loop.
    /// - Throws: why it cannot be, in words for an operator. Nothing keeps running then.
    package static func start(config: KafkaConfig, logger: Logger) throws(BrokerError) -> Broker {
        raiseFileLimit(logger)
        let background = BackgroundThreads(threads: max(2, min(4, System.coreCount)))
        let syncs = BackgroundThreads(threads: Self.syncThreads)
        let logManager: LogManager
        do throws(LogDirectoryError) {
            logManager = try LogManager.open(
                LogManager.Configuration(config), background: background, syncs: syncs, now: wallClockMs()
            ) { notice in logger.log(notice) }
        } catch {
            throw BrokerError(error.description)
        }
        // Both take a while with very many partitions: at the same time. But for a folder of Kafka's, which may turn out
        // not to be usable and is then to be left as it was.
        if !logManager.directories.contains(where: \.hasKafkaMetadata) { logManager.prepareToLoad() }
        let (metadata, image) = try openMetadata(logManager, config, logger)
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        let broker = Broker(
            config: config.with(
                broker: image.brokerConfigs(config.nodeID), clusterDefault: image.brokerDefaultConfigs),
            logger: logger, clusterID: logManager.clusterID, metadata: metadata,
            replicaManager: ReplicaManager(logManager: logManager, logger: logger), background: background,
            syncs: syncs, eventLoops: loops)
        do throws(BrokerError) {
            try broker.load(image)
            metadata.addPublisher { [weak broker] image, delta in broker?.apply(delta, of: image) }
            try broker.listen()
        } catch {
            broker.stop()
            throw error
        }
        return broker
    }

    /// So many files are synced at once. On the disks that were measured more bring little: their journal takes the files
    /// of all together.
    private static let syncThreads = 16

    private static func openMetadata(
        _ logManager: LogManager, _ config: KafkaConfig, _ logger: Logger
    ) throws(BrokerError) -> (MetadataManager, MetadataImage) {
        let path = logManager.directories[0].path + "/" + LocalMetadataStore.sqliteFileName
        let store = try self.openStore(logManager, config, logger)
        do throws(MetadataStoreError) {
            let metadata = MetadataManager(store: store)
            let image = try metadata.start()
            if let known = image.clusterID, known != logManager.clusterID {
                store.close(leavingFileAsItIs: true)
                throw .damaged(
                    path: path, reason: "it belongs to cluster \(known), meta.properties to \(logManager.clusterID)")
            }
            if image.clusterID == nil {
                _ = try metadata.store.commitAndWait(
                    MetadataTransaction(changes: [
                        .put(MetadataKeys.clusterID, Array(logManager.clusterID.utf8))
                    ]))
            }
            return (metadata, image)
        } catch {
            throw BrokerError(error.description)
        }
    }

    /// Opens the logs of all topics.
    private func load(_ image: MetadataImage) throws(BrokerError) {
        let config = self.config
        let began = wallClockMs()
        // Once a topic, not once a partition.
        var logConfigs: [KafkaUUID: LogConfig] = [:]
        for topic in image.topics { logConfigs[topic.id] = TopicConfigs.logConfig(topic.configs, broker: config) }
        let configsByTopic = logConfigs
        do throws(LogDirectoryError) {
            let report = try self.replicaManager.logManager.load(
                now: began, topicID: { image.topic($0)?.id },
                config: { _, id in
                    id.flatMap { configsByTopic[$0] } ?? TopicConfigs.logConfig([:], broker: config)
                })
            if report.bytesScanned > 0 || report.bytesCut > 0 {
                self.logger.notice(
                    """
                    recovered \(report.partitions) partitions in \(wallClockMs() - began) ms: \
                    \(report.foldersRead) folders looked into, \(report.bytesScanned) bytes read, \
                    \(report.bytesCut) torn bytes cut off
                    """)
            }
        } catch {
            throw BrokerError(error.description)
        }
        self.replicaManager.logManager.cordon(config.cordonedLogDirs)
        self.replicaManager.open(image.topics.map { self.spec(of: $0) }, areNew: false)
        self.replicaManager.logManager.onFailedFolder { [weak self] in self?.folderFailed($0) }
        self.groupCoordinator.metadataChanged(GroupMetadataImage(image, self.config), .all)
        self.groupCoordinator.follow()
        self.transactionCoordinator.use(transactionVersion: image.level(of: .transactionVersion))
        self.transactionCoordinator.follow()
        self.replicaManager.logManager.startMaintenance()
    }

    /// The folder's partitions are offline from now on, the others are served. Without the folder of the metadata, or any,
    /// the broker ends.
    private func folderFailed(_ folder: FailedFolder) {
        self.replicaManager.takeOffline(folder.partitions) { self.wake($0) }
        let coordinated = folder.partitions.filter { $0.topic == InternalTopics.consumerOffsets }
        self.groupCoordinator.unload(coordinated.map(\.partition))
        self.transactionCoordinator.unload(
            folder.partitions.filter { $0.topic == InternalTopics.transactionState }.map(\.partition))
        if folder.isFatal {
            self.fail("data folder \(folder.path) has failed (\(folder.error)), and nothing can be served without it")
        }
    }

    private func spec(of topic: TopicImage) -> ReplicaManager.TopicSpec {
        ReplicaManager.TopicSpec(
            name: topic.name, id: topic.id, leaderEpochs: topic.partitions.map(\.leaderEpoch),
            config: TopicConfigs.logConfig(topic.configs, broker: self.config))
    }

    /// Makes the logs follow the metadata. On the metadata's thread, one difference after the other, and before the
    /// commit that caused it is answered: who was told that a topic is there can use it.
    private func apply(_ delta: MetadataDelta, of image: MetadataImage) {
        if delta.brokerDefaultConfigsChanged || delta.changedBrokerConfigs.contains(self.nodeID) {
            self.update(
                config: self.config.with(
                    broker: image.brokerConfigs(self.nodeID), clusterDefault: image.brokerDefaultConfigs))
            // Defaults of topics may have changed with it.
            for topic in image.topics {
                self.replicaManager.update(config: self.spec(of: topic).config, ofTopic: topic.id)
            }
        }
        for topic in delta.deletedTopics {
            self.replicaManager.remove(topic: topic.id) { self.wake($0) }
        }
        let opened = delta.createdTopics + delta.changedTopics.filter { !$0.changedPartitions.isEmpty }.map(\.new)
        if !opened.isEmpty { self.replicaManager.open(opened.map { self.spec(of: $0) }) }
        for change in delta.changedTopics where change.configsChanged {
            self.replicaManager.update(config: self.spec(of: change.new).config, ofTopic: change.new.id)
        }
        self.groupCoordinator.metadataChanged(GroupMetadataImage(image, self.config), ChangedTopics(delta))
        self.groupCoordinator.follow()
        if delta.featuresChanged {
            self.transactionCoordinator.use(transactionVersion: image.level(of: .transactionVersion))
        }
        self.transactionCoordinator.follow()
        self.groupCoordinator.topicsDeleted(delta.deletedTopics.map { .init(name: $0.name, topicID: $0.id) })
    }
}

/// Thousands of partitions and connections need thousands of descriptors; the soft limit is often 1,024.
private func raiseFileLimit(_ logger: Logger) {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 {
        logger.warning("the limit of open files stays at its soft value: \(String(cString: strerror(errno)))")
    }
}

extension LogManager.Configuration {
    init(_ config: KafkaConfig) {
        self.init(directories: config.logDirs, nodeID: config.nodeID, clusterID: config.clusterID)
        self.recoveryThreadsPerDirectory = config.numRecoveryThreadsPerDataDir
        // "Never" is often written as the largest number there is; a time that far off cannot be computed with.
        func interval(_ ms: Int64) -> Int64 { min(ms, 1 << 40) }
        func number(_ name: String) -> Int64? { config.lookup([name]).flatMap { Int64($0.value) } }
        self.moveThreads = number("num.replica.alter.log.dirs.threads").map { Int($0) } ?? config.logDirs.count
        let moveRate = number("replica.alter.log.dirs.io.max.bytes.per.second") ?? 0
        self.moveBytesPerSecond = moveRate > 0 && moveRate < .max ? moveRate : nil
        self.retentionCheckIntervalMs = interval(config.logRetentionCheckIntervalMs)
        self.checkpointIntervalMs = interval(config.logFlushOffsetCheckpointIntervalMs)
        self.producerIDExpirationMs = config.producerIDExpirationMs
        self.scrubBytesPerSecond = config.scrubBytesPerSecond
        self.scrubIntervalMs = interval(config.scrubIntervalMs)
        self.producerIDExpirationCheckIntervalMs = interval(config.producerIDExpirationCheckIntervalMs)
        self.cleaner = config.logCleaner
    }
}

extension Logger {
    func log(_ notice: LogNotice) {
        switch notice.level {
        case .info: self.info("\(notice.message)")
        case .warning: self.warning("\(notice.message)")
        case .error: self.error("\(notice.message)")
        }
    }
}
