import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.QueryableStoreTypes;

/**
 * The peer: sums the field "amount" of JSON records by key into a RocksDB store with changelog.
 *
 * <p>Arguments: bootstrap servers, application id, topic, records in it, at_least_once or
 * exactly_once_v2, threads, state folder. All settings else are Kafka Streams' own. The clock runs
 * from the first record to the last: with exactly_once_v2 until the committed offsets stand at the
 * end, with at_least_once (which commits every 30 s) until the last record is summed. The field is
 * found by a streaming parser, which costs less than binding the document to a class.
 */
public final class SumByKey {
    private static final String STORE = "sums";
    private static final long POLL_MILLIS = 5;
    private static final JsonFactory JSON = new JsonFactory();
    private static final LongAdder SUMMED = new LongAdder();
    private static volatile long firstAt;

    public static void main(String[] arguments) throws Exception {
        var bootstrap = arguments[0];
        var application = arguments[1];
        var topic = arguments[2];
        var records = Long.parseLong(arguments[3]);
        var guarantee = arguments[4];
        var settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(arguments[5]));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[6]);
        settings.put("auto.offset.reset", "earliest");
        try (var streams = new KafkaStreams(topology(topic), settings);
                var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap))) {
            streams.start();
            var committed = guarantee.equals(StreamsConfig.EXACTLY_ONCE_V2);
            var halfAt = awaitSummed(records / 2);
            awaitSummed(records);
            if (committed) {
                awaitCommitted(admin, application, topic);
            }
            print(records, halfAt, System.nanoTime(), sumOfStore(streams));
        }
    }

    private static Topology topology(String topic) {
        var builder = new StreamsBuilder();
        builder.stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .mapValues(SumByKey::amount)
                .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()))
                .aggregate(() -> 0L, SumByKey::sum, Materialized.<String, Long, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as(STORE)
                        .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
        return builder.build();
    }

    private static Long sum(String key, Long amount, Long sum) {
        if (firstAt == 0) {
            firstAt = System.nanoTime();
        }
        SUMMED.increment();
        return sum + amount;
    }

    private static Long amount(byte[] value) {
        try (JsonParser parser = JSON.createParser(value)) {
            for (var token = parser.nextToken(); token != null; token = parser.nextToken()) {
                if (token == JsonToken.FIELD_NAME && parser.currentName().equals("amount")) {
                    parser.nextToken();
                    return parser.getLongValue();
                }
            }
            throw new IllegalArgumentException("a record has no amount");
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static long awaitSummed(long records) throws InterruptedException {
        while (SUMMED.sum() < records) {
            Thread.sleep(POLL_MILLIS);
        }
        return System.nanoTime();
    }

    private static void awaitCommitted(Admin admin, String group, String topic) throws Exception {
        var description = admin.describeTopics(java.util.List.of(topic)).allTopicNames().get();
        var latest = new HashMap<TopicPartition, OffsetSpec>();
        description.get(topic).partitions()
                .forEach(each -> latest.put(new TopicPartition(topic, each.partition()), OffsetSpec.latest()));
        var ends = admin.listOffsets(latest).all().get();
        while (true) {
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            var done = ends.entrySet().stream().allMatch(
                    end -> offset(offsets.get(end.getKey())) >= end.getValue().offset());
            if (done) {
                return;
            }
            Thread.sleep(POLL_MILLIS);
        }
    }

    private static long offset(OffsetAndMetadata committed) {
        return committed == null ? 0 : committed.offset();
    }

    private static long sumOfStore(KafkaStreams streams) {
        var store = streams.store(StoreQueryParameters.fromNameAndType(
                STORE, QueryableStoreTypes.<String, Long>keyValueStore()));
        long sum = 0;
        try (var entries = store.all()) {
            while (entries.hasNext()) {
                sum += entries.next().value;
            }
        }
        return sum;
    }

    private static void print(long records, long halfAt, long lastAt, long sum) {
        var seconds = (lastAt - firstAt) / 1e9;
        var secondHalf = (lastAt - halfAt) / 1e9;
        System.out.printf("{\"records\": %d, \"seconds\": %.3f, \"second_half_seconds\": %.3f, \"sum\": %d}%n",
                records, seconds, secondHalf, sum);
    }
}
