package geminga.instance.wire;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Bytes that grow, with the integers of the process protocol: little-endian. Not for several threads. */
public final class Out {
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private byte[] bytes;
    private int length;

    public Out(int capacity) {
        bytes = new byte[capacity];
    }

    public byte[] array() {
        return bytes;
    }

    public int length() {
        return length;
    }

    /** Forgets what is behind {@code length}; keeps the memory unless one large value made it grow far. */
    public void truncate(int length) {
        this.length = length;
        if (bytes.length > 4 << 20) {
            bytes = Arrays.copyOf(bytes, Math.max(length, 64 << 10));
        }
    }

    public void u8(int value) {
        reserve(1);
        bytes[length++] = (byte) value;
    }

    public void u32(int value) {
        reserve(4);
        INT.set(bytes, length, value);
        length += 4;
    }

    public void u64(long value) {
        reserve(8);
        LONG.set(bytes, length, value);
        length += 8;
    }

    public void f64(double value) {
        u64(Double.doubleToRawLongBits(value));
    }

    /** Overwrites four bytes written before. */
    public void u32At(int offset, int value) {
        INT.set(bytes, offset, value);
    }

    public void str(String value) {
        byte[] utf8 = value.getBytes(StandardCharsets.UTF_8);
        bytes(utf8, 0, utf8.length);
    }

    /** With its length before it. */
    public void bytes(byte[] value, int offset, int count) {
        u32(count);
        raw(value, offset, count);
    }

    public void raw(byte[] value, int offset, int count) {
        reserve(count);
        System.arraycopy(value, offset, bytes, length, count);
        length += count;
    }

    public void raw(Out other) {
        raw(other.bytes, 0, other.length);
    }

    private void reserve(int count) {
        if (bytes.length - length < count) {
            bytes = Arrays.copyOf(bytes, Math.max(Math.addExact(length, count), (int) Math.min(bytes.length * 2L, Integer.MAX_VALUE - 16)));
        }
    }
}
