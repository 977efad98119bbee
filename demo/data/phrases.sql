-- Sixteen of each, picked by four bits of a hash. A view, so that the planner folds the arrays into constants.
CREATE TEMPORARY VIEW demo_phrase AS
SELECT
    ARRAY['Hi, order', 'Hello! Order', 'Where is', 'Please cancel', 'About', 'Still waiting on', 'Refund for', 'Wrong size in',
          'Hola, mi pedido', 'Grüße, Bestellung', '您好，订单', 'مرحبا، الطلب', 'שלום, הזמנה', '🙏 order', 'Cafe' || U&'\0301' || ' order', 'こんにちは、注文']
        AS opening,
    ARRAY['never came', 'arrived broken, again', 'was charged twice', 'has the wrong colour', 'it says "delivered"', 'is 3 days late',
          'I''d like to change it', E'see below:\nbox was open', 'can you check?', 'ne fonctionne pas', '还没有收到 📦', 'لم يصل بعد',
          E'path C:\\tmp\\invoice', 'lost "in transit", they say', '😡😡 third time', 'thanks 👩‍👩‍👧‍👦']
        AS matter,
    ARRAY['So sorry! A new one ships today.', 'Your refund is on its way.', 'Could you send us a photo?', 'It left our hub this morning.',
          'I have cancelled it for you.', 'We''ll swap it, free of charge.', 'The carrier says "tomorrow".', E'Please try:\n1. reset\n2. pair',
          'Done, and 10% off the next one 🎉', 'Lo sentimos, ya va en camino.', '很抱歉，我们今天补发。', 'نعتذر، سنرسل بديلا اليوم.',
          'A colleague will call you back.', E'Label:\thttps://ex.co/r?a=1&b=2', 'Entschuldigung für die Verzögerung', 'It is in stock, size M.']
        AS reply,
    ARRAY['ok', 'softer tone', 'check "VIP" first', 'cite policy 4.2', 'duplicate?', E'see \\\\share\\notes', '👍', '请确认']
        AS note,
    ARRAY['ana', 'bo', 'chen', 'dina', 'eli', 'fatima', 'george', 'hana', 'ivan', 'jo', 'kim', 'li', 'mo', 'noor', 'o.hara', 'zoë']
        AS person,
    ARRAY['mail.com', 'ex.org', 'web.de', 'post.jp'] AS host,
    ARRAY['vip', 'eu', 'late', 'refund', 'new', 'b2b', 'gift, wrap', 'größe'] AS tag,
    ARRAY['chat', 'mail', 'sms', 'web'] AS channel,
    ARRAY['mira', 'tom', 'yuki', 'o''neil', 'zoë', 'omar', 'lena', 'raj'] AS reviewer,
    ARRAY['orders', 'billing', 'returns', 'catalogue'] AS agent;
