package geminga.instance.schema;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.JsonProperties;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.pulsar.client.api.schema.FieldSchemaBuilder;
import org.apache.pulsar.client.api.schema.GenericSchema;
import org.apache.pulsar.client.api.schema.RecordSchemaBuilder;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** A schema of records that user code puts together field by field. Source: Pulsar's {@code RecordSchemaBuilderImpl}. */
public final class RecordDefinition implements RecordSchemaBuilder {
    private static final String NAMESPACE = "org.apache.pulsar.schema.record";
    private static final String NAME = "PulsarDefault";

    private final String name;
    private final List<Member> members = new ArrayList<>();
    private final Map<String, String> properties = new LinkedHashMap<>();
    private String doc;

    /** {@code name} may have a namespace before it, and may be null. */
    public RecordDefinition(String name) {
        this.name = name;
    }

    @Override
    public RecordSchemaBuilder property(String name, String value) {
        properties.put(name, value);
        return this;
    }

    @Override
    public FieldSchemaBuilder<Member> field(String name) {
        return field(name, null);
    }

    @Override
    public FieldSchemaBuilder<Member> field(String name, GenericSchema record) {
        Member member = new Member(name, record);
        members.add(member);
        return member;
    }

    @Override
    public RecordSchemaBuilder doc(String doc) {
        this.doc = doc;
        return this;
    }

    @Override
    public SchemaInfo build(SchemaType type) {
        if (type != SchemaType.AVRO && type != SchemaType.JSON) {
            throw new IllegalArgumentException("records are AVRO or JSON, not " + type);
        }
        int dot = name == null ? -1 : name.lastIndexOf('.');
        Schema record = Schema.createRecord(name == null ? NAME : name.substring(dot + 1), doc,
            name == null ? NAMESPACE : dot < 0 ? null : name.substring(0, dot), false);
        record.setFields(members.stream().map(Member::field).toList());
        return new Info(name == null ? "" : name, record.toString().getBytes(StandardCharsets.UTF_8), type, System.currentTimeMillis(), properties);
    }

    /** One field. */
    public static final class Member implements FieldSchemaBuilder<Member> {
        private final String name;
        private final GenericSchema<?> record;
        private final Map<String, String> properties = new LinkedHashMap<>();
        private SchemaType type;
        private String doc;
        private String[] aliases = {};
        private boolean isOptional;
        private Object byDefault;

        private Member(String name, GenericSchema<?> record) {
            this.name = name;
            this.record = record;
        }

        @Override
        public Member property(String name, String value) {
            properties.put(name, value);
            return this;
        }

        @Override
        public Member doc(String doc) {
            this.doc = doc;
            return this;
        }

        @Override
        public Member aliases(String... aliases) {
            this.aliases = aliases;
            return this;
        }

        @Override
        public Member type(SchemaType type) {
            this.type = type;
            return this;
        }

        @Override
        public Member optional() {
            isOptional = true;
            return this;
        }

        @Override
        public Member required() {
            isOptional = false;
            return this;
        }

        @Override
        public Member defaultValue(Object value) {
            byDefault = value;
            return this;
        }

        /** In a union, the first type is the one of the default. */
        private Schema.Field field() {
            Schema of = schema();
            properties.forEach(of::addProp);
            Schema none = Schema.create(Schema.Type.NULL);
            Schema whole = !isOptional ? of : byDefault == null ? Schema.createUnion(none, of) : Schema.createUnion(of, none);
            Object value = byDefault == null && isOptional ? JsonProperties.NULL_VALUE : byDefault;
            Schema.Field field = new Schema.Field(name, whole, doc, value);
            for (String alias : aliases) {
                field.addAlias(alias);
            }
            return field;
        }

        private Schema schema() {
            if (type == null) {
                throw new IllegalArgumentException("field " + name + " has no type");
            }
            return switch (type) {
                case INT32 -> Schema.create(Schema.Type.INT);
                case INT64 -> Schema.create(Schema.Type.LONG);
                case STRING -> Schema.create(Schema.Type.STRING);
                case FLOAT -> Schema.create(Schema.Type.FLOAT);
                case DOUBLE -> Schema.create(Schema.Type.DOUBLE);
                case BOOLEAN -> Schema.create(Schema.Type.BOOLEAN);
                case BYTES -> Schema.create(Schema.Type.BYTES);
                case DATE -> LogicalTypes.date().addToSchema(Schema.create(Schema.Type.INT));
                case TIME -> LogicalTypes.timeMillis().addToSchema(Schema.create(Schema.Type.INT));
                case TIMESTAMP -> LogicalTypes.timestampMillis().addToSchema(Schema.create(Schema.Type.LONG));
                case AVRO -> record(SchemaType.AVRO);
                case JSON -> record(SchemaType.JSON);
                default -> throw new IllegalArgumentException("field " + name + " cannot be of type " + type);
            };
        }

        private Schema record(SchemaType wanted) {
            if (record == null || record.getSchemaInfo().getType() != wanted) {
                throw new IllegalArgumentException("field " + name + " of type " + wanted + " needs a generic schema of that type");
            }
            return AvroTypes.parse(record.getSchemaInfo().getSchemaDefinition());
        }
    }
}
