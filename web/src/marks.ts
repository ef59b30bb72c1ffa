// What is drawn on the chart besides candles: the countdown below the last price, and the places without candles.
import type { IPrimitivePaneRenderer, IPrimitivePaneView, ISeriesPrimitive, ISeriesPrimitiveAxisView, SeriesAttachedParameter, Time } from 'lightweight-charts';

const UNDER_LABEL = 17; // pixels from the middle of the last price's label to that of the countdown

/** Until the candle in progress ends, on the price axis. */
export class Countdown implements ISeriesPrimitive<Time> {
  private text = '';
  private host: SeriesAttachedParameter<Time> | null = null;
  private readonly view: ISeriesPrimitiveAxisView = {
    coordinate: () => (this.host?.series.priceToCoordinate(this.price()) ?? -100) + UNDER_LABEL,
    text: () => this.text,
    textColor: () => '#ffffff',
    backColor: () => this.color(),
    visible: () => this.text !== '',
  };

  constructor(private readonly price: () => number, private readonly color: () => string) {}

  attached(host: SeriesAttachedParameter<Time>): void {
    this.host = host;
  }

  detached(): void {
    this.host = null;
  }

  set(text: string): void {
    if (text === this.text) return;
    this.text = text;
    this.host?.requestUpdate();
  }

  priceAxisViews(): readonly ISeriesPrimitiveAxisView[] {
    return this.text ? [this.view] : [];
  }
}

export interface Hole {
  left: number; // in pixels
  right: number;
  text: string;
}

/** Bands where there are no candles, with a word on how long nothing came. */
export class Holes implements ISeriesPrimitive<Time> {
  private readonly views: IPrimitivePaneView[];
  private host: SeriesAttachedParameter<Time> | null = null;
  private color = '';
  private textColor = '';

  constructor(private readonly visible: () => Hole[]) {
    this.views = [
      this.view('bottom', (context, hole, height) => {
        context.fillStyle = this.color;
        context.fillRect(hole.left, 0, hole.right - hole.left, height);
      }),
      this.view('normal', (context, hole, height) => this.write(context, hole, height)),
    ];
  }

  private view(order: 'bottom' | 'normal', draw: (context: CanvasRenderingContext2D, hole: Hole, height: number) => void): IPrimitivePaneView {
    const renderer: IPrimitivePaneRenderer = {
      draw: (target) =>
        target.useMediaCoordinateSpace(({ context, mediaSize }) => {
          for (const hole of this.visible()) draw(context, hole, mediaSize.height);
        }),
    };
    return { renderer: () => renderer, zOrder: () => order };
  }

  attached(host: SeriesAttachedParameter<Time>): void {
    this.host = host;
  }

  detached(): void {
    this.host = null;
  }

  colors(color: string, textColor: string): void {
    Object.assign(this, { color, textColor });
    this.host?.requestUpdate();
  }

  private write(context: CanvasRenderingContext2D, { left, right, text }: Hole, height: number): void {
    context.font = '11px system-ui, sans-serif';
    context.fillStyle = this.textColor;
    const room = right - left - 12;
    const wide = context.measureText(text).width;
    if (wide <= room) return context.fillText(text, (left + right - wide) / 2, height * 0.55);
    if (right - left < 16 || wide > height * 0.7) return;
    context.save();
    context.translate((left + right) / 2 + 4, height * 0.55 + wide / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(text, 0, 0);
    context.restore();
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return this.views;
  }
}
